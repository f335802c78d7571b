/* Inside lib/image: decoding where no other thread decodes, into memory that is there. */
#ifndef PM_IMAGE_DECODE_H
#define PM_IMAGE_DECODE_H

#include "lib/image/image.h"

/* As pm_image_decode, with the pixels in `room`: out->rgb is room, and not to be freed. */
pm_status pm_decode_into(const char *name, const void *bytes, size_t size,
                         const pm_image_limits *limits, uint8_t *room, size_t room_bytes,
                         pm_image *out);

#endif
