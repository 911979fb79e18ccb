#include <string.h>

#include <pn/err.h>
#include <pn/wire.h>

enum { VARINT_MAX = 9 };

void pn_wire_put_u8(struct pn_buf *buf, uint8_t value) {
	pn_buf_append(buf, &value, 1);
}

static void encode_u32(unsigned char *bytes, uint32_t value) {
	bytes[0] = (unsigned char)(value >> 24);
	bytes[1] = (unsigned char)(value >> 16);
	bytes[2] = (unsigned char)(value >> 8);
	bytes[3] = (unsigned char)value;
}

void pn_wire_put_u32(struct pn_buf *buf, uint32_t value) {
	unsigned char bytes[4];
	encode_u32(bytes, value);
	pn_buf_append(buf, bytes, sizeof(bytes));
}

void pn_wire_put_u64(struct pn_buf *buf, uint64_t value) {
	unsigned char bytes[8];
	encode_u32(bytes, (uint32_t)(value >> 32));
	encode_u32(bytes + 4, (uint32_t)value);
	pn_buf_append(buf, bytes, sizeof(bytes));
}

void pn_wire_put_f64(struct pn_buf *buf, double value) {
	uint64_t bits;
	memcpy(&bits, &value, sizeof(bits));
	pn_wire_put_u64(buf, bits);
}

void pn_wire_put_varint(struct pn_buf *buf, uint64_t value) {
	unsigned char bytes[VARINT_MAX];
	size_t len = 0;
	for (; value >= 0x80 && len < VARINT_MAX - 1; value >>= 7)
		bytes[len++] = (unsigned char)(value | 0x80);
	bytes[len++] = (unsigned char)value;
	pn_buf_append(buf, bytes, len);
}

void pn_wire_set_u32(struct pn_buf *buf, size_t at, uint32_t value) {
	if (buf->err == PN_OK)
		encode_u32(buf->data + at, value);
}

void pn_wire_put_bytes(struct pn_buf *buf, const void *bytes, uint32_t len) {
	pn_wire_put_u32(buf, len);
	pn_buf_append(buf, bytes, len);
}

struct pn_wire pn_wire_open(const void *bytes, size_t len) {
	return (struct pn_wire){.pos = bytes, .left = len, .err = PN_OK};
}

static const unsigned char *take(struct pn_wire *wire, size_t n) {
	if (wire->err != PN_OK || n > wire->left) {
		wire->err = PN_ETRUNCATED;
		return NULL;
	}
	const unsigned char *pos = wire->pos;
	wire->pos += n;
	wire->left -= n;
	return pos;
}

uint8_t pn_wire_u8(struct pn_wire *wire) {
	const unsigned char *p = take(wire, 1);
	return p != NULL ? p[0] : 0;
}

uint32_t pn_wire_u32(struct pn_wire *wire) {
	const unsigned char *p = take(wire, 4);
	if (p == NULL)
		return 0;
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t pn_wire_u64(struct pn_wire *wire) {
	const uint64_t high = pn_wire_u32(wire);
	return high << 32 | pn_wire_u32(wire);
}

uint64_t pn_wire_varint(struct pn_wire *wire) {
	uint64_t value = 0;
	for (unsigned i = 0; i < VARINT_MAX; i++) {
		const uint8_t byte = pn_wire_u8(wire);
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte < 0x80)
			return wire->err == PN_OK ? value : 0;
	}
	wire->err = PN_ETRUNCATED;
	return 0;
}

double pn_wire_f64(struct pn_wire *wire) {
	const uint64_t bits = pn_wire_u64(wire);
	double value;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

const char *pn_wire_take(struct pn_wire *wire, size_t n) {
	return (const char *)take(wire, n);
}

const char *pn_wire_bytes(struct pn_wire *wire, size_t *len) {
	const size_t n = pn_wire_u32(wire);
	const unsigned char *p = take(wire, n);
	*len = p != NULL ? n : 0;
	return (const char *)p;
}
