/*
 * Compressed stanzas: packed stanzas (pn/pack.h) as they are stored, about half as long.
 *
 *      stored      a packed stanza, which begins with u8 1; or:
 *      compressed  u8 2, size, then the blocks of a frame of zstd (RFC 8878, section 3.1.1.2)
 *      size        0xxxxxxx xxxxxxxx                          bytes of the packed stanza,
 *                  1xxxxxxx xxxxxxxx xxxxxxxx xxxxxxxx        most significant first
 *
 * The header of the frame is the same for all and is left out: 28 b5 2f fd 00 80. The dictionary is
 * in the tree, part of the format, and never changes: modules/stanza/dictionary.txt.
 */
#ifndef PN_COMPRESS_H
#define PN_COMPRESS_H

#include <pn/buf.h>
#include <pn/str.h>

enum {
	PN_COMPRESSED = 2, /* the first byte */
	/* Longer stanzas stay as they are, and a stored size above it is damage: it bounds the
	 * memory that a damaged record can cost. */
	PN_COMPRESS_MAX = 64 * 1024 * 1024,
};

/*
 * Memory that is used again for each stanza; for one thread. A zeroed struct is ready. All fields
 * are private.
 */
struct pn_compressor {
	struct ZSTD_CCtx_s *writer; /* NULL until it is needed, as is reader */
	struct ZSTD_DCtx_s *reader;
	struct pn_buf compressed;
	struct pn_buf last;   /* packed stanza whose compressed form is in `compressed` */
	struct pn_str result; /* that form; bytes = NULL: none, or it is not shorter */
	struct pn_buf frame;  /* of the reader */
};

/*
 * Sets *stored to the compressed form of a packed stanza, which is borrowed until the next call; or
 * to the packed stanza itself, if that is not longer. The stanza of the call before is not
 * compressed again: a message goes to the archives of both sides. Returns 0 or PN_ENOMEM.
 */
int pn_compress(struct pn_compressor *compressor, struct pn_str packed, struct pn_str *stored);

/*
 * Appends the packed stanza to `packed`. Any bytes are allowed: those that are not compressed are
 * appended as they are. Returns 0, PN_ENOMEM or PN_ECORRUPT, and appends nothing then.
 */
int pn_decompress(struct pn_compressor *compressor, struct pn_str stored, struct pn_buf *packed);

/* The bytes of the packed stanza, without reading it: those of `stored` itself if that is not
 * compressed. PN_ECORRUPT if the size cannot be read. */
int pn_decompressed_size(struct pn_str stored);

/* Frees the memory, and leaves a zeroed struct. */
void pn_compressor_free(struct pn_compressor *compressor);

/* The version of libzstd as text. Static storage. */
const char *pn_compress_zstd_version(void);

#endif
