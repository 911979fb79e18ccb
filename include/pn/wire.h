/* Integers and byte strings in a buffer, big-endian: written to a pn_buf, read by a bounded cursor.
 */
#ifndef PN_WIRE_H
#define PN_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>

/*
 *   u8      1 byte
 *   u32     4 bytes, the most significant first; u64 likewise
 *   f64     the bits of a double, as u64
 *   bytes   u32 length, then that many bytes
 *
 * Errors of writing are those of the buffer.
 */
void pn_wire_put_u8(struct pn_buf *buf, uint8_t value);
void pn_wire_put_u32(struct pn_buf *buf, uint32_t value);
void pn_wire_put_u64(struct pn_buf *buf, uint64_t value);
void pn_wire_put_f64(struct pn_buf *buf, double value);
/* Writes over the u32 that was put at offset `at`. Does nothing once the buffer has failed. */
void pn_wire_set_u32(struct pn_buf *buf, size_t at, uint32_t value);
void pn_wire_put_bytes(struct pn_buf *buf, const void *bytes, uint32_t len);

/*
 * A cursor never reads past its end. Once a read asks for more than there is, err is PN_ETRUNCATED
 * and that read and all later ones give 0 and empty bytes.
 */
struct pn_wire {
	const unsigned char *pos; /* borrowed */
	size_t left;              /* bytes from pos to the end */
	int err;                  /* 0 or PN_ETRUNCATED */
};

struct pn_wire pn_wire_open(const void *bytes, size_t len);
uint8_t pn_wire_u8(struct pn_wire *wire);
uint32_t pn_wire_u32(struct pn_wire *wire);
uint64_t pn_wire_u64(struct pn_wire *wire);
double pn_wire_f64(struct pn_wire *wire);

/* The next n bytes, borrowed from what was opened; NULL on error. */
const char *pn_wire_take(struct pn_wire *wire, size_t n);

/* Sets *len and returns the first byte, borrowed from what was opened; NULL and 0 on error. */
const char *pn_wire_bytes(struct pn_wire *wire, size_t *len);

#endif
