/*
 * The input is TLSA records of a server whose chain is always the same.
 *
 *      { u8 usage  u8 selector  u8 matching type  u8 what
 *        what < 0x80:  the data: so many bytes
 *        else:         none: the data is right for certificate what % 3 of the chain }*
 *
 * The verdict is compared with the expected one.
 */
#include <pn/cert.h>
#include <pn/err.h>

#include "../unit/cert_fixture.h"
#include "fuzz.h"

enum { MAX_RECORDS = 32 };

static struct {
	bool made;
	struct pn_chain *chain;
	struct pn_reference *reference;
	struct pn_buf authority;
} peer;

static void make_peer(void) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert *const certs[] = {&h.leaf, &h.intermediate, &h.root, NULL};
	peer.chain = chain_of(certs);
	peer.reference = reference_of("a.example", "xmpp-server");
	pem_add(&peer.authority, &h.root);
	peer.made = true;
	hierarchy_free(h);
}

/* Reads a record; right data is put into `made`, which the caller frees. */
static struct pn_tlsa read_record(struct fuzz_input *in, struct pn_buf *made) {
	struct pn_tlsa record = {fuzz_u8(in), fuzz_u8(in), fuzz_u8(in), {"", 0}};
	const uint8_t what = fuzz_u8(in);
	if (what >= 0x80) {
		if (pn_cert_tlsa(peer.chain, what % 3, record.selector, record.match, made) ==
		    PN_OK)
			record.data = buf_str(made);
		return record;
	}
	record.data.len = what < in->left ? what : in->left;
	record.data.bytes = (const char *)in->pos;
	in->pos += record.data.len;
	in->left -= record.data.len;
	return record;
}

/* Whether the record is the one that the core creates for certificate `depth`. */
static bool is_of(const struct pn_tlsa *record, size_t depth) {
	struct pn_buf data = {0};
	const int err = pn_cert_tlsa(peer.chain, depth, record->selector, record->match, &data);
	const bool same = err == PN_OK && data.len == record->data.len &&
			  memcmp(data.data, record->data.bytes, data.len) == 0;
	pn_buf_free(&data);
	return same;
}

/* Whether the record alone lets the peer in. */
static bool lets_in(const struct pn_tlsa *record) {
	if (record->usage == PN_TLSA_PKIX_EE || record->usage == PN_TLSA_DANE_EE)
		return is_of(record, 0);
	return is_of(record, 1) || is_of(record, 2);
}

static bool counts(const struct pn_tlsa *records, size_t count, size_t index) {
	return pn_tlsa_fault(&records[index]) == NULL && !pn_tlsa_outdone(records, count, index);
}

static void check(const struct pn_tlsa *records, size_t count) {
	struct pn_verdict verdict = {0};
	bool any = false;
	bool expected = false;
	for (size_t i = 0; i < count; i++) {
		const bool used = counts(records, count, i);
		any = any || used;
		expected = expected || (used && lets_in(&records[i]));
		FUZZ_ASSERT(!pn_tlsa_outdone(records, count, i) || records[i].match == 1);
	}
	const struct pn_verify verify = {.chain = peer.chain,
					 .records = records,
					 .record_count = count,
					 .references = &peer.reference,
					 .reference_count = 1,
					 .authorities = {.pem = buf_str(&peer.authority)},
					 .now = NOW};
	FUZZ_ASSERT(pn_cert_verify(&verify, &verdict) == PN_OK);
	FUZZ_ASSERT(verdict.identity_valid);
	FUZZ_ASSERT(verdict.chain_valid == (expected || !any));
	FUZZ_ASSERT(verdict.dane == (count == 0 ? PN_DANE_NONE
				     : !any     ? PN_DANE_UNUSABLE
				     : expected ? PN_DANE_MATCH
						: PN_DANE_MISMATCH));
	if (verdict.dane == PN_DANE_MATCH)
		FUZZ_ASSERT(verdict.record < count && counts(records, count, verdict.record) &&
			    is_of(&records[verdict.record], verdict.depth));
	pn_buf_free(&verdict.errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct fuzz_input in = {data, size};
	struct pn_tlsa records[MAX_RECORDS];
	struct pn_buf made[MAX_RECORDS] = {0};
	size_t count = 0;
	if (!peer.made)
		make_peer();
	for (; in.left > 0 && count < MAX_RECORDS; count++)
		records[count] = read_record(&in, &made[count]);
	check(records, count);
	for (size_t i = 0; i < count; i++)
		pn_buf_free(&made[i]);
	return 0;
}
