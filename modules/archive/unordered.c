/* The messages that are out of order: a tree over their positions, with their times and counts. */
#include <math.h>
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum {
	BITS = 6, /* a node has 2^6 nodes of the level below */
	FANOUT = 1 << BITS,
	LEVELS = 4, /* the topmost nodes have 2^24 positions each, and are read one after another */
	TOP = LEVELS - 1,
	BLOCK_BYTES = 8,   /* of a key */
	MESSAGE_BYTES = 9, /* of an entry in a node of level 0 */
	ENTRY_BYTES = 21,  /* in others */
};

/* The messages in one part of a node. Level 0: a single message. */
struct entry {
	uint8_t index;
	uint32_t count;
	double least, greatest; /* of their times */
};

/* The record o. Its entries ascend by index, and are not empty. */
struct node {
	size_t count;
	struct entry entries[FANOUT];
};

/* A node of the tree of a list. */
struct place {
	const struct pn_archive *archive;
	uint32_t list;
	uint8_t level;
	uint64_t block;
};

static struct pn_key key_of(const struct place *place) {
	return pn_key_block(place->archive->number, PN_KIND_UNORDERED, place->list, place->level,
			    place->block);
}

/* The positions of an entry of a node. */
static struct pn_range positions(const struct place *place, const struct entry *entry) {
	const unsigned bits = BITS * place->level;
	const uint64_t from = (place->block << BITS | entry->index) << bits;
	return (struct pn_range){from, from + (UINT64_C(1) << bits)};
}

/* The node that has the position, in a level. */
static struct place place_of(const struct pn_archive *archive, uint32_t list, uint8_t level,
			     uint64_t seq) {
	return (struct place){archive, list, level, seq >> (BITS * (level + 1))};
}

/* The node that an entry summarizes. */
static struct place below(const struct place *place, const struct entry *entry) {
	return (struct place){place->archive, place->list, (uint8_t)(place->level - 1),
			      place->block << BITS | entry->index};
}

/* ---- Nodes ---- */

static struct entry read_entry(struct pn_wire *value, uint8_t level) {
	struct entry entry = {.index = pn_wire_u8(value), .count = 1};
	if (level > 0)
		entry.count = pn_wire_u32(value);
	entry.least = pn_wire_f64(value);
	entry.greatest = level > 0 ? pn_wire_f64(value) : entry.least;
	return entry;
}

static bool is_sound(const struct node *node, const struct entry *entry) {
	const bool ascends =
		node->count == 0 || node->entries[node->count - 1].index < entry->index;
	return ascends && entry->index < FANOUT && entry->count > 0 &&
	       entry->least <= entry->greatest;
}

/* Reads the value of a node. Returns whether it could be read. */
static bool parse(struct pn_txn *txn, struct pn_wire value, uint8_t level, struct node *node) {
	const size_t size = level > 0 ? ENTRY_BYTES : MESSAGE_BYTES;
	bool sound = value.left > 0 && value.left % size == 0 && value.left / size <= FANOUT;
	node->count = 0;
	while (sound && value.left > 0) {
		const struct entry entry = read_entry(&value, level);
		sound = is_sound(node, &entry);
		node->entries[node->count++] = entry;
	}
	if (!sound || value.err != PN_OK)
		pn_txn_fail(txn, PN_ECORRUPT);
	return txn->err == PN_OK;
}

/* Reads a node; it is empty if it has no record. Returns whether it has one. */
static bool get_node(const struct place *place, struct node *node) {
	const struct pn_key key = key_of(place);
	struct pn_wire value;
	node->count = 0;
	return pn_get(place->archive->txn, &key, &value) &&
	       parse(place->archive->txn, value, place->level, node);
}

static void put_node(const struct place *place, const struct node *node) {
	const struct pn_key key = key_of(place);
	if (node->count == 0) {
		pn_remove(place->archive->txn, &key);
		return;
	}
	struct pn_buf value = pn_value();
	for (size_t i = 0; i < node->count; i++) {
		const struct entry *const entry = &node->entries[i];
		pn_wire_put_u8(&value, entry->index);
		if (place->level > 0)
			pn_wire_put_u32(&value, entry->count);
		pn_wire_put_f64(&value, entry->least);
		if (place->level > 0)
			pn_wire_put_f64(&value, entry->greatest);
	}
	pn_put(place->archive->txn, &key, &value);
}

/* The entry of a node in the level above. */
static struct entry summarize(const struct place *place, const struct node *node) {
	struct entry sum = {.index = (uint8_t)(place->block & (FANOUT - 1))};
	for (size_t i = 0; i < node->count; i++) {
		const struct entry *const entry = &node->entries[i];
		if (i == 0 || entry->least < sum.least)
			sum.least = entry->least;
		if (i == 0 || entry->greatest > sum.greatest)
			sum.greatest = entry->greatest;
		sum.count += entry->count;
	}
	return sum;
}

/* ---- Changing ---- */

/* Replaces the entry of the same index, or removes it if the new one is empty. Returns whether
 * there was one. */
static bool set_entry(struct node *node, struct entry entry) {
	size_t at = 0;
	while (at < node->count && node->entries[at].index < entry.index)
		at++;
	const bool found = at < node->count && node->entries[at].index == entry.index;
	const size_t kept = entry.count > 0;
	struct entry *const place = &node->entries[at];
	const size_t after = node->count - at - found;
	memmove(place + kept, place + found, after * sizeof(*place));
	node->count = at + kept + after;
	if (kept)
		*place = entry;
	return found;
}

/* The index of a message in its node of level 0. */
static uint8_t index_of(uint64_t seq) {
	return (uint8_t)(seq & (FANOUT - 1));
}

/* Writes a node of level 0 that has changed, and its entries in the levels above. Changes *node. */
static void put_changed(struct place place, struct node *node) {
	const struct pn_txn *const txn = place.archive->txn;
	put_node(&place, node);
	while (place.level < TOP && txn->err == PN_OK) {
		const struct entry entry = summarize(&place, node);
		place.level++;
		place.block >>= BITS;
		get_node(&place, node);
		set_entry(node, entry);
		put_node(&place, node);
	}
}

static void add(const struct pn_archive *archive, uint32_t list, uint64_t seq, double when) {
	const struct place place = place_of(archive, list, 0, seq);
	struct node node;
	get_node(&place, &node);
	if (set_entry(&node, (struct entry){index_of(seq), 1, when, when}))
		pn_txn_fail(archive->txn, PN_ECORRUPT);
	put_changed(place, &node);
}

/* Removes messages of one node from it. */
static void remove_of_node(struct pn_archive *archive, uint32_t list, const uint64_t *seqs,
			   size_t count) {
	const struct place place = place_of(archive, list, 0, seqs[0]);
	struct node node;
	get_node(&place, &node);
	for (size_t i = 0; i < count; i++) {
		if (!set_entry(&node, (struct entry){.index = index_of(seqs[i])}))
			pn_txn_fail(archive->txn, PN_ECORRUPT);
	}
	put_changed(place, &node);
	archive->scattered += PN_UNORDERED_LEAVES;
}

void pn_unordered_add(struct pn_archive *archive, uint64_t seq, double when,
		      struct pn_peers peers) {
	pn_txn_claim_more(archive->txn, PN_UNORDERED_PUTS, 0);
	add(archive, PN_PEER_ALL, seq, when);
	if (peers.peer != 0)
		add(archive, peers.peer, seq, when);
	if (peers.bare != 0)
		add(archive, peers.bare, seq, when);
	archive->state.unordered += 1;
}

bool pn_unordered_same_block(uint64_t a, uint64_t b) {
	return a >> BITS == b >> BITS;
}

void pn_unordered_remove(struct pn_archive *archive, uint32_t list, const uint64_t *seqs,
			 size_t count) {
	for (size_t i = 0, part; i < count && archive->txn->err == PN_OK; i += part) {
		part = 1;
		while (i + part < count && pn_unordered_same_block(seqs[i], seqs[i + part]))
			part++;
		remove_of_node(archive, list, seqs + i, part);
	}
	if (list == PN_PEER_ALL)
		archive->state.unordered -= pn_min(archive->state.unordered, count);
}

/* ---- Finding ---- */

struct pn_area pn_area_all(uint32_t list) {
	return (struct pn_area){list, {0, PN_SEQ_END}, -INFINITY, INFINITY};
}

static bool misses(const struct pn_area *area, struct pn_range range, const struct entry *entry) {
	return range.to <= area->range.from || range.from >= area->range.to ||
	       !(entry->greatest >= area->start) || !(entry->least <= area->end);
}

static bool is_inside(const struct pn_area *area, struct pn_range range,
		      const struct entry *entry) {
	return range.from >= area->range.from && range.to <= area->range.to &&
	       entry->least >= area->start && entry->greatest <= area->end;
}

/* What a walk over the nodes that the area touches does with each of them. */
struct visit {
	const struct pn_area *area;
	bool reverse;
	/* Returns whether the walk goes on with the nodes below the entry. May end the walk. */
	bool (*entry)(struct visit *visit, const struct place *place, const struct entry *entry);
	bool ended;
	uint64_t count;
	const struct pn_range *ranges; /* the ones ahead */
	size_t ranges_count;
	size_t want;
	struct pn_matches *matches;
	bool (*span)(void *context, double least, double greatest);
	void *context;
	struct pn_cursor cursors[TOP]; /* one for each level below; without a transaction: closed */
};

static bool is_at(const struct pn_cursor *cursor, const struct place *place) {
	uint32_t archive, list;
	uint8_t level;
	uint64_t block;
	return cursor->key.bytes != NULL &&
	       pn_key_read_block(cursor->key, PN_KIND_UNORDERED, &archive, &list, &level, &block) &&
	       block == place->block;
}

static bool seek_node(struct pn_cursor *cursor, const struct place *place) {
	const struct pn_key key = key_of(place);
	if (cursor->txn == NULL) {
		struct pn_key prefix = key;
		prefix.len -= BLOCK_BYTES;
		pn_cursor_open(place->archive->txn, cursor, &prefix);
	}
	return pn_cursor_seek(cursor, &key) && is_at(cursor, place);
}

/* Reads a node below the topmost ones. It is often the neighbour of the last one of its level. */
static bool visit_node(struct visit *visit, const struct place *place, struct node *node) {
	struct pn_cursor *const cursor = &visit->cursors[place->level];
	bool moved = false;
	if (cursor->txn != NULL && cursor->key.bytes != NULL)
		moved = visit->reverse ? pn_cursor_previous(cursor) : pn_cursor_next(cursor);
	return ((moved && is_at(cursor, place)) || seek_node(cursor, place)) &&
	       parse(place->archive->txn, cursor->value, place->level, node);
}

static void walk_node(struct visit *visit, const struct place *place, const struct node *node);

static void walk_below(struct visit *visit, const struct place *place, const struct entry *entry) {
	const struct place lower = below(place, entry);
	struct node node;
	if (visit_node(visit, &lower, &node))
		walk_node(visit, &lower, &node);
	else
		pn_txn_fail(place->archive->txn, PN_ECORRUPT);
}

static void walk_node(struct visit *visit, const struct place *place, const struct node *node) {
	for (size_t i = 0; i < node->count && !visit->ended; i++) {
		const struct entry *const entry =
			&node->entries[visit->reverse ? node->count - 1 - i : i];
		if (!misses(visit->area, positions(place, entry), entry) &&
		    visit->entry(visit, place, entry) && place->level > 0)
			walk_below(visit, place, entry);
		if (place->archive->txn->err != PN_OK)
			visit->ended = true;
	}
	/* a whole node of level 0 at a time */
	if (visit->matches != NULL && visit->matches->count >= visit->want)
		visit->ended = true;
}

/* Walks over a topmost node, at the cursor. */
static void walk_top(struct visit *visit, struct place *place, const struct pn_cursor *cursor) {
	struct node node;
	uint32_t number, list;
	if (!pn_key_read_block(cursor->key, PN_KIND_UNORDERED, &number, &list, &place->level,
			       &place->block)) {
		pn_txn_fail(cursor->txn, PN_ECORRUPT);
		visit->ended = true;
	} else if (parse(cursor->txn, cursor->value, TOP, &node)) {
		walk_node(visit, place, &node);
	}
}

static void walk(const struct pn_archive *archive, struct visit *visit) {
	const struct pn_area *const area = visit->area;
	struct place place = place_of(archive, area->list, TOP, area->range.from);
	struct place end = place_of(archive, area->list, TOP, area->range.to);
	struct pn_cursor cursor;
	if (area->range.from >= area->range.to)
		return;
	end.block++; /* an entry beyond the area is passed over */
	const struct pn_key from = key_of(&place), to = key_of(&end);
	struct pn_key prefix = from;
	prefix.len -= BLOCK_BYTES;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	bool any = visit->reverse ? pn_cursor_seek_before(&cursor, &to)
				  : pn_cursor_seek(&cursor, &from);
	while (any && !visit->ended) {
		walk_top(visit, &place, &cursor);
		any = visit->reverse ? pn_cursor_previous(&cursor) : pn_cursor_next(&cursor);
		any = any && (visit->reverse ? place.block > area->range.from >> (BITS * LEVELS)
					     : place.block + 1 < end.block);
	}
	pn_cursor_close(&cursor);
	for (int level = 0; level < TOP; level++)
		pn_cursor_close(&visit->cursors[level]);
}

static bool count_entry(struct visit *visit, const struct place *place, const struct entry *entry) {
	if (!is_inside(visit->area, positions(place, entry), entry))
		return true;
	visit->count += entry->count;
	return false;
}

uint64_t pn_unordered_count(const struct pn_archive *archive, const struct pn_area *area) {
	struct visit visit = {.area = area, .entry = count_entry};
	walk(archive, &visit);
	return visit.count;
}

static bool count_in_ranges(struct visit *visit, const struct place *place,
			    const struct entry *entry) {
	const struct pn_range at = positions(place, entry);
	while (visit->ranges_count > 0 && visit->ranges->to <= at.from) {
		visit->ranges++;
		visit->ranges_count--;
	}
	if (visit->ranges_count == 0 || visit->ranges->from >= at.to)
		return false;
	const struct pn_range range = pn_range_intersect(visit->area->range, *visit->ranges);
	if (at.from < range.from || at.to > range.to)
		return true;
	visit->count += entry->count;
	return false;
}

uint64_t pn_unordered_count_within(const struct pn_archive *archive, uint32_t list,
				   struct pn_range page, const struct pn_range *ranges,
				   size_t count) {
	struct pn_area area = pn_area_all(list);
	struct visit visit = {
		.area = &area, .entry = count_in_ranges, .ranges = ranges, .ranges_count = count};
	if (count == 0)
		return 0;
	area.range =
		pn_range_intersect(page, (struct pn_range){ranges[0].from, ranges[count - 1].to});
	walk(archive, &visit);
	return visit.count;
}

static bool note_match(struct visit *visit, const struct place *place, const struct entry *entry) {
	struct pn_matches *const matches = visit->matches;
	if (place->level == 0)
		matches->seqs[matches->count++] = place->block << BITS | entry->index;
	return true;
}

void pn_unordered_find(const struct pn_archive *archive, const struct pn_area *area, bool reverse,
		       size_t want, struct pn_matches *matches) {
	struct visit visit = {
		.area = area,
		.reverse = reverse,
		.entry = note_match,
		.want = want,
		.matches = matches,
	};
	matches->count = 0;
	walk(archive, &visit);
}

static bool show_span(struct visit *visit, const struct place *place, const struct entry *entry) {
	(void)place;
	return visit->span(visit->context, entry->least, entry->greatest);
}

void pn_unordered_spans(const struct pn_archive *archive,
			bool (*span)(void *context, double least, double greatest), void *context) {
	const struct pn_area all = pn_area_all(PN_PEER_ALL);
	struct visit visit = {.area = &all, .entry = show_span, .span = span, .context = context};
	walk(archive, &visit);
}

/* ---- Checking ---- */

bool pn_unordered_get(const struct pn_archive *archive, uint32_t list, uint64_t seq, double *when) {
	const struct place place = place_of(archive, list, 0, seq);
	struct node node;
	get_node(&place, &node);
	for (size_t i = 0; i < node.count; i++) {
		if (node.entries[i].index == index_of(seq)) {
			*when = node.entries[i].least;
			return true;
		}
	}
	return false;
}

static bool is_same(const struct entry *a, const struct entry *b) {
	return a->index == b->index && a->count == b->count && a->least == b->least &&
	       a->greatest == b->greatest;
}

/* Whether the node above has the right entry of this one. */
static bool is_summarized(const struct place *place, const struct node *node) {
	const struct place above = {place->archive, place->list, (uint8_t)(place->level + 1),
				    place->block >> BITS};
	const struct entry sum = summarize(place, node);
	struct node upper;
	get_node(&above, &upper);
	for (size_t i = 0; i < upper.count; i++) {
		if (is_same(&upper.entries[i], &sum))
			return true;
	}
	return false;
}

static bool has_nodes_below(const struct place *place, const struct node *node) {
	struct node lower;
	for (size_t i = 0; i < node->count; i++) {
		const struct place at = below(place, &node->entries[i]);
		if (!get_node(&at, &lower))
			return false;
	}
	return true;
}

bool pn_unordered_check(const struct pn_archive *archive, const struct pn_cursor *cursor,
			struct pn_area *leaf) {
	struct place place = {.archive = archive};
	struct node node;
	uint32_t number;
	*leaf = (struct pn_area){0};
	if (!pn_key_read_block(cursor->key, PN_KIND_UNORDERED, &number, &place.list, &place.level,
			       &place.block) ||
	    place.level >= LEVELS || !parse(archive->txn, cursor->value, place.level, &node))
		return false;
	if (place.level == 0)
		*leaf = (struct pn_area){.list = place.list,
					 .range = {place.block << BITS, (place.block + 1) << BITS}};
	return (place.level == TOP || is_summarized(&place, &node)) &&
	       (place.level == 0 || has_nodes_below(&place, &node));
}
