/* Erases deleted messages in the background: those of an archive's marks, a batch at a time. */
#include <pn/err.h>

#include "archive.h"

enum { ERASE_PUTS = 5 }; /* the state, the marks, and counts of deleted positions */

/* Gathers the first messages of a mark. Returns whether there may be more. */
static bool gather(struct pn_archive *archive, const struct pn_mark *mark, struct pn_batch *batch) {
	const struct pn_marks marks = archive->marks;
	struct pn_plan plan;
	struct pn_walk walk = {.archive = archive, .plan = &plan};
	bool room = true;
	pn_plan_mark(archive, mark, &plan);
	archive->marks.count = 0; /* a walk skips the messages of marks */
	while (room && pn_walk_next(&walk))
		room = pn_batch_add(batch, archive, walk.seq, &walk.stored);
	pn_walk_close(&walk);
	pn_plan_free(&plan);
	archive->marks = marks;
	return !room;
}

/* Erases messages of the first mark. Removes the mark if none of its messages are left. */
static void erase(struct pn_archive *archive, struct pn_batch *batch) {
	struct pn_marks *const marks = &archive->marks;
	const bool more = gather(archive, &marks->marks[0], batch);
	pn_batch_remove(batch, archive);
	archive->state.marked -= pn_min(batch->count, archive->state.marked);
	if (archive->state.marked == 0) /* a part of an overlapping mark may be empty */
		marks->count = 0;
	else if (more && batch->count > 0)
		marks->marks[0].seqs.from = batch->messages[batch->count - 1].seq + 1;
	else
		marks->marks[0] = marks->marks[--marks->count];
	pn_marks_write(archive);
	pn_archive_write_state(archive);
}

static bool is_scattered(const struct pn_archive *archive) {
	const struct pn_mark *const mark = &archive->marks.marks[0];
	return mark->peers.peer != PN_PEER_ALL || pn_mark_is_timed(mark);
}

int pn_archive_erase(struct pn_db *db, uint32_t number, unsigned limit, unsigned *erased) {
	struct pn_batch batch = {.most = limit < PN_BATCH_MAX ? limit : PN_BATCH_MAX};
	struct pn_txn txn;
	struct pn_archive archive;
	pn_txn_write(
		db, &txn,
		(struct pn_claim){.puts = ERASE_PUTS, .bytes = PN_BATCH_CLAIM, .removes = true});
	if (pn_archive_open_number(&archive, &txn, number)) {
		batch.scattered = is_scattered(&archive);
		if (archive.marks.count == 0)
			pn_txn_fail(&txn, PN_ECORRUPT);
		else
			erase(&archive, &batch);
	}
	pn_txn_refund(&txn, PN_BATCH_CLAIM - pn_batch_used(&batch, &archive));
	const int result = pn_txn_end(&txn, archive.marks.count > 0);
	if (result >= 0)
		*erased = batch.count;
	return result;
}
