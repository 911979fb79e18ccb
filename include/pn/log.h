/*
 * The log of turns: the changes of each turn, in order, in files beside the data file. A turn that
 * is in the log survives a killed process; one that is synced survives a power failure.
 *
 * The format is a contract: another machine may read it. All numbers are big-endian.
 *
 * The log is a sequence of records, which are numbered 1, 2, 3 ... They lie in segments: files
 * "log.N", where N is the number of the first record in 16 hexadecimal digits. A segment is
 * allocated before it is written, and may be a renamed older one: behind its last record lie zeros
 * or old bytes. The file "log.next" is a segment that is not in use yet.
 *
 *   segment   0  magic     "pn-log", two NULs
 *             8  u32       format version, 1
 *            12  u32       0
 *            16  16 bytes  identity of the store
 *            32  u64       epoch
 *            40  u64       number of the first record
 *            48  u64       salt, random
 *            56  u64       seed: XXH3 (64 bits) of the bytes 0 to 55
 *            64  records, each aligned to 8 bytes
 *
 *   record    0  u64       check: XXH3 (64 bits) of the bytes 8 to 31 and of the XXH3 of the
 *                          payload, as a u64; both with the segment's seed
 *             8  u64       number
 *            16  u64       synced: the last record that was durable when this one was written
 *            24  u32       length of the payload
 *            28  u32       0
 *            32  payload, zeros up to the next multiple of 8
 *
 *   payload: the changes of the turn, in order; each is
 *             0  u8        'p': a record of the database is written; 'r': it is removed
 *             1  u32       length of the key, then the key
 *                u32       only after 'p': length of the value, then the value
 *
 * The seed of every segment is another one, so that old bytes never pass for a record.
 *
 * Epoch. The data file and its log carry the same identity and epoch. Whatever replaces the data
 * file begins a new epoch: a log of another epoch describes changes of another file.
 *
 * The end. A record whose check fails is the first one that is not there. A power failure may keep
 * later ones, which were not durable either: they are dropped. A later record that says in `synced`
 * that the missing one was durable proves damage.
 *
 * Errors of every function, unless it says otherwise: PN_ENOMEM, PN_ENOSPACE, PN_EREADONLY,
 * PN_EACCESS, PN_EIO.
 */
#ifndef PN_LOG_H
#define PN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_LOG_STORE = 16 };

struct pn_log_id {
	unsigned char store[PN_LOG_STORE];
	uint64_t epoch;
};

/* ---- Reading ---- */

/* Gets a record; the payload is borrowed until it returns. An error ends the reading. */
typedef int pn_log_visit(void *context, uint64_t number, const void *payload, size_t len);

/*
 * Reads the records behind number `after`, and sets *last to the number of the last one, `after` if
 * there is none. `directory` is a descriptor.
 *
 * Errors also: PN_EFOREIGN: the log is of another store or epoch, or begins behind after + 1;
 * PN_EVERSION: its format is newer; PN_ECORRUPT: a record that was durable is damaged, *last is
 * the one before. Errors of `visit`.
 */
int pn_log_read(int directory, const struct pn_log_id *id, uint64_t after, pn_log_visit *visit,
		void *context, uint64_t *last);

/* Renames the log's files, so that no later log continues them: "rejected.N" for each "log.N". */
int pn_log_reject(int directory);

/* Removes the log's files. All that they hold is elsewhere, and nobody has them open. */
int pn_log_remove(int directory);

/* ---- Writing ---- */

struct pn_log;

/*
 * Opens the log to write behind record `last`, as pn_log_read() has set it, and drops what lies
 * behind. The records before are taken for durable up to `synced`. One process writes at a time.
 */
int pn_log_open(struct pn_log **log, int directory, const struct pn_log_id *id, uint64_t last,
		uint64_t synced);

/* Whether another process has appended a record behind the last one. The caller holds the lock that
 * every writer takes. */
bool pn_log_was_continued(const struct pn_log *log);

/* Closes the files. Syncs nothing. NULL is allowed. */
void pn_log_close(struct pn_log *log);

/* Ensures space on the disk for a record of `len` bytes; some space is kept for operations of which
 * `removes` says that they free space. */
int pn_log_reserve(struct pn_log *log, size_t len, bool removes);

/* Appends a record. After an error nothing of it is in the log. */
int pn_log_append(struct pn_log *log, const void *payload, uint32_t len);

/* Numbers of the last record, and of the last durable one. */
uint64_t pn_log_last(const struct pn_log *log);
uint64_t pn_log_synced(const struct pn_log *log);

/* Bytes of its files. */
uint64_t pn_log_bytes(const struct pn_log *log);

/* Removes the segments of which no record is numbered above `last`, except those that are not
 * durable, and the newest one while there is space in it; at most `most` of them. One is kept, to
 * be written again. The caller holds the lock that every writer takes. Returns 1 if others are
 * left. */
int pn_log_cut(struct pn_log *log, uint64_t last, unsigned most);

/* ---- Syncing, in steps, so that a thread can do the one that waits for the disk ---- */

enum { PN_LOG_SYNC_FILES = 16 };

struct pn_log_sync {
	int files[PN_LOG_SYNC_FILES]; /* descriptors, borrowed from the log */
	size_t count;
	int directory; /* -1: names have not changed */
	uint64_t last; /* the record that is durable with them */
};

/* What has to be synced now. Returns whether that is anything. One at a time. */
bool pn_log_sync_begin(struct pn_log *log, struct pn_log_sync *sync);

/* Syncs it, in any thread. Returns 0 or PN_EIO. */
int pn_log_sync_run(const struct pn_log_sync *sync);

/* Notes the result, also that it could not be tried. After PN_EIO every append fails with it: what
 * the kernel has given up it does not write again. */
void pn_log_sync_end(struct pn_log *log, const struct pn_log_sync *sync, int result);

#endif
