/*
 * The input is a script: pieces of streams and the places of cuts. The bytes are parsed at once,
 * one by one, and as they are cut, with parsers that are kept and that are made again: the events,
 * the reported bytes and the results are the same.
 *
 *      { u8 piece  its arguments }*
 *
 *      0..PIECES-1   a piece of PIECES
 *      PIECES        u8 length  bytes
 *      PIECES + 1    a cut
 *      PIECES + 2    u8 index of PIECES  u8 times: the piece, repeated
 */
#include <pn/err.h>

#include "../unit/stream_fixture.h"
#include "fuzz.h"

static const char *const PIECES[] = {
	HEADER,
	"<stream:stream xmlns:stream='" STREAMS "'>",
	"</stream:stream>",
	"<?xml version='1.0'?>",
	"<message>",
	"</message>",
	"<iq/>",
	"<iq to='",
	"'>",
	"<presence ",
	"xml:lang='en' ",
	"a=\"<\" ",
	"a=\">\" ",
	"/>",
	"<x xmlns='urn:x'>",
	"</x>",
	"<p:y xmlns:p='urn:p' p:z='1'>",
	"</p:y>",
	"<stream:error>",
	"</stream:error>",
	"<![CDATA[",
	"]]>",
	"<!-- ",
	"-->",
	"<?pi ",
	"?>",
	"<!DOCTYPE a [",
	"&amp;",
	"&#65;",
	"&x;",
	"&",
	"\xe2\x82\xac",
	"\xe2",
	"text",
	"<",
	">",
	"]",
	"\r\n",
	"'",
	"\"",
};

enum {
	PIECE_COUNT = sizeof(PIECES) / sizeof(PIECES[0]),
	MAX_BYTES = 20000,
	MAX_CUTS = 1000,
};

struct script {
	struct pn_buf bytes;
	size_t cuts[MAX_CUTS];
	size_t cut_count;
};

static void put_times(struct script *script, const char *piece, size_t times) {
	for (size_t i = 0; i < times; i++)
		pn_buf_append(&script->bytes, piece, strlen(piece));
}

static void put_bytes(struct script *script, struct fuzz_input *in) {
	size_t len = fuzz_u8(in);
	len = len < in->left ? len : in->left;
	pn_buf_append(&script->bytes, in->pos, len);
	in->pos += len;
	in->left -= len;
}

static void read_script(struct script *script, struct fuzz_input in) {
	while (in.left > 0 && script->bytes.len < MAX_BYTES) {
		const unsigned int choice = fuzz_u8(&in) % (PIECE_COUNT + 3);
		if (choice < PIECE_COUNT) {
			put_times(script, PIECES[choice], 1);
		} else if (choice == PIECE_COUNT) {
			put_bytes(script, &in);
		} else if (choice == PIECE_COUNT + 1) {
			if (script->cut_count < MAX_CUTS)
				script->cuts[script->cut_count++] = script->bytes.len;
		} else {
			const char *piece = PIECES[fuzz_u8(&in) % PIECE_COUNT];
			put_times(script, piece, fuzz_u8(&in));
		}
	}
}

static struct pn_str part(const struct script *script, size_t from, size_t to) {
	return (struct pn_str){(const char *)script->bytes.data + from, to - from};
}

/* Feeds the bytes, `step` at a time; 0: as the script cuts them. */
static int feed(struct fixture *f, const struct script *script, size_t step) {
	int result = 0;
	size_t at = 0;
	for (size_t next = 0; at < script->bytes.len && result == 0;) {
		size_t to = step > 0 ? at + step : script->bytes.len;
		while (step == 0 && next < script->cut_count && script->cuts[next] <= at)
			next++;
		if (step == 0 && next < script->cut_count)
			to = script->cuts[next];
		to = to < script->bytes.len ? to : script->bytes.len;
		result = fixture_feed(f, part(script, at, to));
		at = to;
	}
	return result == 0 ? fixture_handle(f, pn_parser_finish(f->parser)) : result;
}

static void check_same(const struct fixture *a, const struct fixture *b) {
	FUZZ_ASSERT(a->log.len == b->log.len);
	FUZZ_ASSERT(a->log.len == 0 || memcmp(a->log.data, b->log.data, a->log.len) == 0);
	FUZZ_ASSERT(a->stanzas == b->stanzas);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct script script;
	struct fixture whole = {0};
	script = (struct script){0};
	read_script(&script, (struct fuzz_input){data, size});
	FUZZ_ASSERT(fixture_open(&whole, 1) == PN_OK);
	const int result = feed(&whole, &script, script.bytes.len + 1);
	for (size_t i = 0; i < 4; i++) {
		struct fixture other = {0};
		FUZZ_ASSERT(fixture_open(&other, i % 2) == PN_OK);
		FUZZ_ASSERT(feed(&other, &script, i / 2) == result);
		check_same(&whole, &other);
		FUZZ_ASSERT(result != 0 || other.parsed == whole.parsed);
		fixture_close(&other);
	}
	fixture_close(&whole);
	pn_buf_free(&script.bytes);
	return 0;
}
