/*
 * The log of a stanza: items in document order, in one buffer. Each begins with its struct; its
 * strings follow. A START has the numbers of its children, which are counted as they arrive, so
 * that tables can be made with the right size.
 */
#include <string.h>

#include <pn/err.h>

#include "parser.h"

struct start {
	uint32_t type;
	uint32_t parent; /* offset of the START around it, or PN_LOG_NONE */
	uint32_t attrs;
	uint32_t children;
	uint32_t elements;
	uint32_t index;   /* as a child of the parent, 1 being the first */
	uint32_t element; /* the same among elements only */
	uint32_t name_len;
	uint32_t ns_at; /* offset of the namespace's bytes, which items share */
	uint32_t ns_len;
	uint8_t has_xmlns;
	uint8_t inherits; /* the namespace of the parent */
};

struct attr {
	uint32_t type;
	uint32_t name_len;
	uint32_t value_len;
};

struct text {
	uint32_t type;
	uint32_t index; /* as in struct start */
	uint32_t len;
};

/* Strings follow a struct unpadded, so structs are copied. */
static struct start get_start(const struct pn_log *log, size_t at) {
	struct start start;
	memcpy(&start, log->items.data + at, sizeof(start));
	return start;
}

static void set_start(struct pn_log *log, size_t at, const struct start *start) {
	memcpy(log->items.data + at, start, sizeof(*start));
}

static const char *bytes_at(const struct pn_log *log, size_t at) {
	return (const char *)log->items.data + at;
}

/* Offsets are 32-bit, so the log has a limit. Returns whether there is room for n bytes. */
static bool make_room(struct pn_log *log, size_t n) {
	if (log->items.err == PN_OK && n > PN_LOG_NONE - 1 - log->items.len)
		log->items.err = PN_ENOMEM;
	return pn_buf_reserve(&log->items, n) == PN_OK;
}

void pn_log_clear(struct pn_log *log, size_t keep) {
	pn_buf_reset(&log->items, keep);
	log->open = log->text = PN_LOG_NONE;
	log->ns_at = log->ns_len = 0;
	log->level = log->levels = 0;
}

/* Counts a child of the open element. Returns it as it is then; zeroed outside of elements. */
static struct start count_child(struct pn_log *log, bool element) {
	struct start parent = {0};
	if (log->open == PN_LOG_NONE)
		return parent;
	parent = get_start(log, log->open);
	parent.children++;
	parent.elements += element;
	set_start(log, log->open, &parent);
	return parent;
}

/* Whether the namespace at `at` in the log is this one. */
static bool is_ns(const struct pn_log *log, uint32_t at, uint32_t len, struct pn_str ns) {
	return len == ns.len && (len == 0 || memcmp(bytes_at(log, at), ns.bytes, len) == 0);
}

/* Sets the namespace of a START at the end of the log: its bytes are shared if they are those of
 * the parent or of the last namespace. Returns whether they have to be appended. */
static bool set_ns(struct pn_log *log, struct start *start, const struct start *parent,
		   struct pn_str ns) {
	start->ns_len = (uint32_t)ns.len;
	start->ns_at = parent->ns_at;
	start->inherits = log->open != PN_LOG_NONE && is_ns(log, parent->ns_at, parent->ns_len, ns);
	if (start->inherits)
		return false;
	start->ns_at = log->ns_at;
	if (is_ns(log, log->ns_at, log->ns_len, ns))
		return false;
	start->ns_at = (uint32_t)(log->items.len + sizeof(*start) + start->name_len);
	log->ns_at = start->ns_at;
	log->ns_len = start->ns_len;
	return true;
}

uint32_t pn_log_start(struct pn_log *log, struct pn_str name, struct pn_str ns, bool has_xmlns) {
	const uint32_t at = (uint32_t)log->items.len;
	log->text = PN_LOG_NONE;
	if (!make_room(log, sizeof(struct start) + name.len + ns.len))
		return at;
	const struct start parent = count_child(log, true);
	struct start start = {
		.type = PN_STREAM_START,
		.parent = log->open,
		.index = parent.children,
		.element = parent.elements,
		.name_len = (uint32_t)name.len,
		.has_xmlns = has_xmlns,
	};
	const bool is_new = set_ns(log, &start, &parent, ns);
	pn_buf_append(&log->items, &start, sizeof(start));
	pn_buf_append(&log->items, name.bytes, name.len);
	if (is_new)
		pn_buf_append(&log->items, ns.bytes, ns.len);
	return at;
}

void pn_log_attr(struct pn_log *log, uint32_t start, struct pn_str prefix, struct pn_str name,
		 struct pn_str value) {
	const struct attr attr = {
		.type = PN_STREAM_ATTR,
		.name_len = (uint32_t)(prefix.len + name.len),
		.value_len = (uint32_t)value.len,
	};
	if (!make_room(log, sizeof(attr) + prefix.len + name.len + value.len))
		return;
	struct start element = get_start(log, start);
	element.attrs++;
	set_start(log, start, &element);
	pn_buf_append(&log->items, &attr, sizeof(attr));
	pn_buf_append(&log->items, prefix.bytes, prefix.len);
	pn_buf_append(&log->items, name.bytes, name.len);
	pn_buf_append(&log->items, value.bytes, value.len);
}

void pn_log_text(struct pn_log *log, struct pn_str value) {
	struct text text = {.type = PN_STREAM_TEXT};
	if (!make_room(log, sizeof(text) + value.len))
		return;
	if (log->text == PN_LOG_NONE) {
		log->text = (uint32_t)log->items.len;
		text.index = count_child(log, false).children;
		pn_buf_append(&log->items, &text, sizeof(text));
	}
	memcpy(&text, log->items.data + log->text, sizeof(text));
	text.len += (uint32_t)value.len;
	memcpy(log->items.data + log->text, &text, sizeof(text));
	pn_buf_append(&log->items, value.bytes, value.len);
}

void pn_log_enter(struct pn_log *log, uint32_t start) {
	log->open = start;
	log->level++;
	if (log->level > log->levels)
		log->levels = log->level;
}

void pn_log_leave(struct pn_log *log) {
	const uint32_t type = PN_STREAM_END;
	log->text = PN_LOG_NONE;
	if (make_room(log, sizeof(type)))
		pn_buf_append(&log->items, &type, sizeof(type));
	log->open = get_start(log, log->open).parent;
	log->level--;
}

/* ---- Reading ---- */

static size_t read_start(const struct pn_log *log, size_t at, struct pn_stream_item *item) {
	const struct start start = get_start(log, at);
	item->name = (struct pn_str){bytes_at(log, at + sizeof(start)), start.name_len};
	item->value = (struct pn_str){bytes_at(log, start.ns_at), start.ns_len};
	item->has_xmlns = start.has_xmlns != 0;
	item->inherits_xmlns = start.inherits != 0;
	item->index = start.index;
	item->element = start.element;
	item->attrs = start.attrs;
	item->children = start.children;
	item->elements = start.elements;
	const size_t end = at + sizeof(start) + start.name_len;
	return start.ns_at == end ? end + start.ns_len : end;
}

static size_t read_attr(const struct pn_log *log, size_t at, struct pn_stream_item *item) {
	struct attr attr;
	memcpy(&attr, log->items.data + at, sizeof(attr));
	at += sizeof(attr);
	item->name = (struct pn_str){bytes_at(log, at), attr.name_len};
	item->value = (struct pn_str){bytes_at(log, at + attr.name_len), attr.value_len};
	return at + attr.name_len + attr.value_len;
}

static size_t read_text(const struct pn_log *log, size_t at, struct pn_stream_item *item) {
	struct text text;
	memcpy(&text, log->items.data + at, sizeof(text));
	item->index = text.index;
	item->value = (struct pn_str){bytes_at(log, at + sizeof(text)), text.len};
	return at + sizeof(text) + text.len;
}

bool pn_log_next(const struct pn_log *log, size_t *at, struct pn_stream_item *item) {
	uint32_t type;
	if (*at >= log->items.len)
		return false;
	memcpy(&type, log->items.data + *at, sizeof(type));
	item->type = (enum pn_stream_item_type)type;
	switch (item->type) {
	case PN_STREAM_START:
		*at = read_start(log, *at, item);
		break;
	case PN_STREAM_ATTR:
		*at = read_attr(log, *at, item);
		break;
	case PN_STREAM_TEXT:
		*at = read_text(log, *at, item);
		break;
	case PN_STREAM_END:
		*at += sizeof(type);
		break;
	}
	return true;
}
