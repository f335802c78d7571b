/* A VFS over SQLite's own that writes down what is written, cut, synced, made and removed; and what
 * of it would be on the disk had the power gone at some point of the tale.
 *
 * The disk that is played keeps what was synced. Of what came after a file's last sync each sector
 * of 512 bytes is there or not, on its own; so is each change of size and each name made or
 * removed since the folder's last sync. A gap below kept bytes holds zeros or what was there in
 * former lives of the blocks. The -shm file is memory: after a cut it is gone or garbage.
 *
 * SQLite's own VFS syncs the folder at the first sync of a journal or log that it made and after
 * removing one, when asked; that is below this shim, so it is told here from the same conditions
 * (UNIXFILE_DIRSYNC and unixDelete in SQLite 3.40's os_unix.c). */
#ifndef TESTS_CAMPAIGN_TRACE_VFS_H
#define TESTS_CAMPAIGN_TRACE_VFS_H

#include "tests/campaign/history.h"

typedef struct trace trace;

/* Register as the default VFS, recording; one at a time. `lies`: a disk that says it synced and did
 * not. */
pm_status trace_begin(bool lies, trace **out);
/* No longer the default VFS, nothing more is recorded; the tale stays. Files opened through it must
 * be closed before. */
void trace_end(trace *t);
void trace_free(trace **t);

/* A point of the tale where these are the facts. */
void trace_tell(trace *t, const facts *facts);

size_t trace_length(const trace *t);
/* Points where something was answered. */
size_t trace_answers(const trace *t);
/* The place in the tale just behind answer n. */
size_t trace_answer(const trace *t, size_t n);
/* The facts as they stood at a place. */
const facts *trace_facts(const trace *t, size_t place);

typedef enum cut_kind { CUT_NONE, CUT_ALL, CUT_SOME, CUT_FEW, CUT_MOST, CUT_KINDS } cut_kind;

/* The files in `folder` as after a power cut in front of event `place`. CUT_NONE loses nothing,
 * CUT_ALL all that was not synced. *lost: sectors, sizes and names that are gone. */
pm_status trace_cut(const trace *t, size_t place, cut_kind kind, luck *l, const char *folder,
                    uint64_t *lost);

#endif
