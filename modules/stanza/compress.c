/* Compressed stanzas: the only file that knows zstd. */
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include <zstd.h>
#include <zstd_errors.h>

#include <pn/compress.h>
#include <pn/err.h>
#include <pn/pack.h>
#include <pn/wire.h>

#include "dictionary.h"

enum {
	/* Of 1 to 3 the shortest messages for the least time: with this dictionary 286, 282 and 283
	 * bytes of a mix of 472, in 2.8, 2.8 and 4.1 us. Not part of the format. */
	LEVEL = 2,
	LONG = 0x8000,     /* flag in a size: it has four bytes */
	HEADER_MAX = 5,    /* bytes before the blocks */
	KEEP = 256 * 1024, /* bytes of memory that are kept between two stanzas */
};

/* Magic number; no content size, checksum or number of a dictionary; a window that is larger than
 * any stanza. */
static const unsigned char FRAME[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x80};
enum { WINDOW = 5 }; /* offset in FRAME. A writer's window may be smaller: no matter to a reader */

static int error_of(size_t result, int other) {
	if (!ZSTD_isError(result))
		return PN_OK;
	return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? PN_ENOMEM : other;
}

/* ---- Sizes ---- */

static void put_size(struct pn_buf *buf, size_t size) {
	if (size >= LONG)
		pn_wire_put_u8(buf, (uint8_t)(LONG >> 8 | size >> 24));
	if (size >= LONG)
		pn_wire_put_u8(buf, (uint8_t)(size >> 16));
	pn_wire_put_u8(buf, (uint8_t)(size >> 8));
	pn_wire_put_u8(buf, (uint8_t)size);
}

static size_t read_size(struct pn_wire *wire) {
	size_t size = (size_t)pn_wire_u8(wire) << 8;
	size |= pn_wire_u8(wire);
	if (size < LONG)
		return size;
	size = (size & (LONG - 1)) << 16;
	size |= (size_t)pn_wire_u8(wire) << 8;
	return size | pn_wire_u8(wire);
}

/* Opens the blocks of a compressed stanza. Returns the size of the packed one, or PN_ECORRUPT. */
static int open_blocks(struct pn_str stored, struct pn_wire *blocks) {
	*blocks = pn_wire_open(stored.bytes, stored.len);
	(void)pn_wire_u8(blocks);
	const size_t size = read_size(blocks);
	return blocks->err == PN_OK && size > 0 && size <= PN_COMPRESS_MAX ? (int)size
									   : PN_ECORRUPT;
}

static bool is_compressed(struct pn_str stored) {
	return stored.len > 0 && stored.bytes[0] == PN_COMPRESSED;
}

/* ---- Writing ---- */

static int open_writer(struct pn_compressor *compressor) {
	if (compressor->writer != NULL)
		return PN_OK;
	ZSTD_CCtx *const writer = ZSTD_createCCtx();
	if (writer == NULL)
		return PN_ENOMEM;
	const size_t results[] = {
		ZSTD_CCtx_setParameter(writer, ZSTD_c_compressionLevel, LEVEL),
		ZSTD_CCtx_setParameter(writer, ZSTD_c_contentSizeFlag, 0),
		ZSTD_CCtx_setParameter(writer, ZSTD_c_dictIDFlag, 0),
		ZSTD_CCtx_loadDictionary(writer, pn_stanza_dictionary, PN_STANZA_DICTIONARY),
	};
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		if (ZSTD_isError(results[i])) {
			ZSTD_freeCCtx(writer);
			return PN_ENOMEM;
		}
	}
	compressor->writer = writer;
	return PN_OK;
}

/* Whether the reader can make up the header of the frame. */
static bool has_usual_header(const unsigned char *frame, size_t len) {
	return len > sizeof(FRAME) && memcmp(frame, FRAME, WINDOW) == 0;
}

/* Writes the frame so that its blocks follow the header of ours, which overwrites the frame's. */
static int write_frame(struct pn_compressor *compressor, struct pn_str packed,
		       struct pn_str *stored) {
	struct pn_buf *const buf = &compressor->compressed;
	struct pn_buf header = {.data = (unsigned char[HEADER_MAX]){0}, .cap = HEADER_MAX};
	const size_t len =
		ZSTD_compress2(compressor->writer, buf->data, buf->cap, packed.bytes, packed.len);
	if (ZSTD_isError(len) || !has_usual_header(buf->data, len))
		return error_of(len, PN_OK);
	pn_wire_put_u8(&header, PN_COMPRESSED);
	put_size(&header, packed.len);
	unsigned char *const begin = buf->data + sizeof(FRAME) - header.len;
	memcpy(begin, header.data, header.len);
	if (len - sizeof(FRAME) + header.len < packed.len)
		*stored = (struct pn_str){(char *)begin, len - sizeof(FRAME) + header.len};
	return PN_OK;
}

static bool is_last(const struct pn_compressor *compressor, struct pn_str packed) {
	const struct pn_buf *const last = &compressor->last;
	return last->len == packed.len && memcmp(last->data, packed.bytes, packed.len) == 0;
}

/* Makes room for what one stanza needs, and forgets the last one. */
static int reserve(struct pn_compressor *compressor, struct pn_str packed) {
	struct pn_buf *const buf = &compressor->compressed;
	struct pn_buf *const last = &compressor->last;
	pn_buf_reset(buf, KEEP);
	pn_buf_reset(last, KEEP);
	const int err = pn_buf_reserve(buf, ZSTD_compressBound(packed.len));
	return err == PN_OK && packed.len <= KEEP ? pn_buf_reserve(last, packed.len) : err;
}

/* Long stanzas are not remembered. */
static void remember(struct pn_compressor *compressor, struct pn_str packed, struct pn_str stored) {
	const struct pn_str none = {NULL, 0};
	if (packed.len > KEEP)
		return;
	pn_buf_append(&compressor->last, packed.bytes, packed.len);
	compressor->result = stored.bytes != packed.bytes ? stored : none;
}

int pn_compress(struct pn_compressor *compressor, struct pn_str packed, struct pn_str *stored) {
	*stored = packed;
	if (packed.len == 0 || packed.len > PN_COMPRESS_MAX || packed.bytes[0] != PN_PACK_VERSION)
		return PN_OK;
	if (is_last(compressor, packed)) {
		if (compressor->result.bytes != NULL)
			*stored = compressor->result;
		return PN_OK;
	}
	int err = open_writer(compressor);
	if (err == PN_OK)
		err = reserve(compressor, packed);
	if (err == PN_OK)
		err = write_frame(compressor, packed, stored);
	if (err == PN_OK)
		remember(compressor, packed, *stored);
	return err;
}

/* ---- Reading ---- */

static int open_reader(struct pn_compressor *compressor) {
	if (compressor->reader != NULL)
		return PN_OK;
	ZSTD_DCtx *const reader = ZSTD_createDCtx();
	if (reader == NULL)
		return PN_ENOMEM;
	if (ZSTD_isError(
		    ZSTD_DCtx_loadDictionary(reader, pn_stanza_dictionary, PN_STANZA_DICTIONARY))) {
		ZSTD_freeDCtx(reader);
		return PN_ENOMEM;
	}
	compressor->reader = reader;
	return PN_OK;
}

static int read_frame(struct pn_compressor *compressor, size_t size, struct pn_buf *packed) {
	const struct pn_buf *const frame = &compressor->frame;
	unsigned char *const to = packed->data + packed->len;
	const size_t len =
		ZSTD_decompressDCtx(compressor->reader, to, size, frame->data, frame->len);
	if (ZSTD_isError(len))
		return error_of(len, PN_ECORRUPT);
	if (len != size || to[0] != PN_PACK_VERSION)
		return PN_ECORRUPT;
	packed->len += size;
	return PN_OK;
}

int pn_decompress(struct pn_compressor *compressor, struct pn_str stored, struct pn_buf *packed) {
	struct pn_buf *const frame = &compressor->frame;
	struct pn_wire blocks;
	if (!is_compressed(stored)) {
		pn_buf_append(packed, stored.bytes, stored.len);
		return packed->err;
	}
	const int size = open_blocks(stored, &blocks);
	if (size < 0)
		return size;
	const int err = open_reader(compressor);
	if (err != PN_OK)
		return err;
	pn_buf_reset(frame, KEEP);
	pn_buf_append(frame, FRAME, sizeof(FRAME));
	pn_buf_append(frame, blocks.pos, blocks.left);
	if (frame->err != PN_OK || pn_buf_reserve(packed, (size_t)size) != PN_OK)
		return PN_ENOMEM;
	return read_frame(compressor, (size_t)size, packed);
}

int pn_decompressed_size(struct pn_str stored) {
	struct pn_wire blocks;
	if (is_compressed(stored))
		return open_blocks(stored, &blocks);
	return stored.len <= INT_MAX ? (int)stored.len : PN_ECORRUPT;
}

void pn_compressor_free(struct pn_compressor *compressor) {
	ZSTD_freeCCtx(compressor->writer);
	ZSTD_freeDCtx(compressor->reader);
	pn_buf_free(&compressor->compressed);
	pn_buf_free(&compressor->last);
	pn_buf_free(&compressor->frame);
	*compressor = (struct pn_compressor){0};
}

const char *pn_compress_zstd_version(void) {
	return ZSTD_versionString();
}
