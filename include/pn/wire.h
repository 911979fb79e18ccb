/* Integers and byte strings as big-endian bytes: appended to a pn_buf, read by a bounded cursor. */
#ifndef PN_WIRE_H
#define PN_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>

/*
 *   u8      1 byte
 *   u32     4 bytes, the most significant first
 *   u64     8 bytes, the most significant first
 *   f64     the bits of a double (IEEE 754), as u64
 *   varint  7 bits of a number in each byte, the least significant first; 0x80: more follow
 *   bytes   u32 length, then that many bytes
 *
 * A failed write sets the error of the buffer.
 */
void pn_wire_put_u8(struct pn_buf *buf, uint8_t value);
void pn_wire_put_u32(struct pn_buf *buf, uint32_t value);
void pn_wire_put_u64(struct pn_buf *buf, uint64_t value);
void pn_wire_put_f64(struct pn_buf *buf, double value);
void pn_wire_put_varint(struct pn_buf *buf, uint64_t value);
/* Overwrites the u32 at offset `at`. Does nothing if the buffer has an error. */
void pn_wire_set_u32(struct pn_buf *buf, size_t at, uint32_t value);
void pn_wire_put_bytes(struct pn_buf *buf, const void *bytes, uint32_t len);

/*
 * A cursor never reads past its end. A read that needs more bytes than are left sets err; it and
 * all later reads return 0, NULL or empty bytes.
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
uint64_t pn_wire_varint(struct pn_wire *wire); /* of up to 63 bits; otherwise it is an error */

/* Returns the next n bytes, borrowed from the opened bytes; NULL on error. */
const char *pn_wire_take(struct pn_wire *wire, size_t n);

/* Reads `bytes`: returns them, borrowed likewise, and sets *len; NULL and 0 on error. */
const char *pn_wire_bytes(struct pn_wire *wire, size_t *len);

#endif
