/* The gallery's pictures: photographs as the network saw them, heat maps as grey PNGs.
 *
 * A heat map's grey is 255 sqrt(v / (10 mean)), v up to 10 times the map's own mean, in 64 steps;
 * the page colours it (pm_pictures_table), so that it is stored once for both colour maps.
 * Use: pm_pictures_open -> photograph and heat_maps of an item -> pm_pictures_close. */
#ifndef PM_TOOLS_REPORT_PICTURES_H
#define PM_TOOLS_REPORT_PICTURES_H

#include "lib/image/decoder.h"
#include "tools/report/data.h"
#include "tools/report/folder.h"

enum { PM_PICTURE_SIDE_MAX = 256, PM_PICTURE_NAME_BYTES = 64, PM_PICTURE_BOXES = 16 };

typedef struct pm_pictures pm_pictures;

typedef struct pm_picture_set {
    char photograph[PM_PICTURE_NAME_BYTES]; /* "pictures/00012.jpg"; "": see missing */
    const char *missing;                    /* why there is no photograph, a few words */
    bool *heat_maps; /* [configuration]: "pictures/ITEM-CONFIGURATION.png" is there */
    pm_crop_box boxes[PM_PICTURE_BOXES]; /* pixels of the crop */
    size_t box_count, side;              /* of the crop, pixels */
} pm_picture_set;

pm_status pm_pictures_open(pm_query *query, const pm_report *report, const pm_report_folder *folder,
                           pm_pictures **out);
void pm_pictures_close(pm_pictures **pictures);
/* Write what there is of an item. *out is valid until the next call. A photograph or heat map that
 * cannot be read is no failure; a full disk is. */
pm_status pm_pictures_write(pm_pictures *pictures, size_t item, const pm_picture_set **out);

/* The name of a heat map's file. */
void pm_pictures_heat_map_name(size_t item, size_t configuration, char out[PM_PICTURE_NAME_BYTES]);

typedef enum pm_colours { PM_COLOURS_UNIFORM, PM_COLOURS_SEISMIC } pm_colours;
enum { PM_PICTURES_STEPS = 64 };
/* The colour of each step of grey. */
void pm_pictures_table(pm_colours colours, uint8_t rgb[PM_PICTURES_STEPS][3]);

#endif
