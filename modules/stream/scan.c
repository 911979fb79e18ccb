/* The scan for the ends of tokens. Quotation marks matter: an attribute may contain '>'. */
#include <stdbool.h>
#include <string.h>

#include "scan.h"

enum state {
	TEXT,         /* also between two tokens */
	REFERENCE,    /* after '&' */
	LESS_THAN,    /* after '<' */
	TAG,          /* in a tag or a document type, outside of quotation marks */
	VALUE,        /* in a quoted value of a tag */
	INSTRUCTION,  /* after "<?" */
	DECLARATION,  /* after "<!" */
	COMMENT_OPEN, /* after "<!-" */
	COMMENT,      /* after "<!--" */
	SECTION_OPEN, /* after "<![" */
	SECTION,      /* in a CDATA section */
};

static const char SECTION_NAME[] = "CDATA[";

static bool is_name(unsigned char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '#' || c == '.' || c == '-' || c == '_' || c == ':' || c >= 0x80;
}

/* The length of a run of bytes in a sequence like "--" before '>'; the count does not overflow. */
static void count_run(struct pn_scan *scan, bool same) {
	if (!same)
		scan->count = 0;
	else if (scan->count < 2)
		scan->count++;
}

/* Handles a byte of text, or the first byte after a token. Returns whether a token ends with it. */
static bool in_text(struct pn_scan *scan, unsigned char c) {
	scan->state = c == '<' ? LESS_THAN : c == '&' ? REFERENCE : TEXT;
	return scan->state == TEXT;
}

static bool in_less_than(struct pn_scan *scan, unsigned char c) {
	scan->count = 0;
	scan->state = c == '!' ? DECLARATION : c == '?' ? INSTRUCTION : TAG;
	return scan->state == TAG && c != '/' && !is_name(c);
}

static bool is_space(unsigned char c) {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* '<' and '[' are not allowed in a tag; '[' begins the subset of a document type, where expat has
 * seen enough to reject it. A quotation mark is allowed only after '=', which `count` remembers. */
static bool in_tag(struct pn_scan *scan, unsigned char c) {
	const bool quote = c == '"' || c == '\'';
	const bool misplaced = quote && scan->count == 0;
	if (c == '>')
		scan->state = TEXT;
	if (quote) {
		scan->quote = c;
		scan->state = VALUE;
	}
	scan->count = c == '=' || (scan->count != 0 && is_space(c));
	return misplaced || c == '>' || c == '<' || c == '[';
}

static bool in_value(struct pn_scan *scan, unsigned char c) {
	if (c == scan->quote)
		scan->state = TAG;
	return c == '<';
}

static bool in_instruction(struct pn_scan *scan, unsigned char c) {
	const bool ends = c == '>' && scan->count > 0;
	if (ends)
		scan->state = TEXT;
	scan->count = c == '?';
	return ends;
}

static bool in_declaration(struct pn_scan *scan, unsigned char c) {
	scan->state = c == '-' ? COMMENT_OPEN : c == '[' ? SECTION_OPEN : TAG;
	return false;
}

static bool in_comment_open(struct pn_scan *scan, unsigned char c) {
	scan->state = c == '-' ? COMMENT : TEXT;
	return c != '-';
}

/* After "--" a comment must end. */
static bool in_comment(struct pn_scan *scan, unsigned char c) {
	const bool ends = scan->count == 2;
	if (ends)
		scan->state = TEXT;
	count_run(scan, c == '-');
	return ends;
}

static bool in_section_open(struct pn_scan *scan, unsigned char c) {
	if (c != (unsigned char)SECTION_NAME[scan->count]) {
		scan->state = TEXT;
		return true;
	}
	scan->count++;
	if (SECTION_NAME[scan->count] != '\0')
		return false;
	scan->count = 0;
	scan->state = SECTION;
	return true;
}

static bool in_section(struct pn_scan *scan, unsigned char c) {
	if (c == '>' && scan->count == 2)
		scan->state = TEXT;
	count_run(scan, c == ']');
	return true;
}

static bool in_reference(struct pn_scan *scan, unsigned char c) {
	if (is_name(c))
		return false;
	scan->state = TEXT;
	return c == ';' || in_text(scan, c);
}

/* Returns whether the bytes up to and including c can be parsed. */
static bool step(struct pn_scan *scan, unsigned char c) {
	static bool (*const steps[])(struct pn_scan *, unsigned char) = {
		[TEXT] = in_text,
		[REFERENCE] = in_reference,
		[LESS_THAN] = in_less_than,
		[TAG] = in_tag,
		[VALUE] = in_value,
		[INSTRUCTION] = in_instruction,
		[DECLARATION] = in_declaration,
		[COMMENT_OPEN] = in_comment_open,
		[COMMENT] = in_comment,
		[SECTION_OPEN] = in_section_open,
		[SECTION] = in_section,
	};
	return steps[scan->state](scan, c);
}

/* Passes bytes of names, values and text that change nothing: most bytes are such. */
static size_t pass_plain(struct pn_scan *scan, const char *bytes, size_t i, size_t end) {
	const char quote = (char)scan->quote;
	const size_t begin = i;
	switch ((enum state)scan->state) {
	case TEXT:
		while (i < end && bytes[i] != '<' && bytes[i] != '&')
			i++;
		break;
	case VALUE:
		while (i < end && bytes[i] != quote && bytes[i] != '<')
			i++;
		break;
	case TAG:
		while (i < end && is_name((unsigned char)bytes[i]))
			i++;
		if (i > begin)
			scan->count = 0;
		break;
	default:
		break;
	}
	return i;
}

size_t pn_scan(struct pn_scan *scan, const char *bytes, size_t *pos, size_t len, size_t enough) {
	size_t complete = 0;
	size_t i = *pos;
	while (i < len && complete < enough) {
		const size_t end = len - i < enough ? len : i + enough;
		i = pass_plain(scan, bytes, i, end);
		if (scan->state == TEXT && i > *pos)
			complete = i;
		if (i < end && step(scan, (unsigned char)bytes[i++]))
			complete = i;
	}
	*pos = i;
	return complete;
}

bool pn_scan_is_between_tokens(const struct pn_scan *scan) {
	return scan->state == TEXT;
}
