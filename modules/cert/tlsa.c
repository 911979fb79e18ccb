/* TLSA records: which of them can be used, and which certificate each is for. */
#include <limits.h>
#include <string.h>

#include <openssl/evp.h>

#include <pn/alloc.h>

#include "cert.h"

enum { SHA256_LEN = 32, SHA512_LEN = 64, SELECTORS = 2, MATCHES = 3 };

/* ---- Usable records ---- */

/* Whether the data is a certificate or a key, as the selector says, to the last byte: 1, 0, or
 * PN_ENOMEM. */
static int is_whole(const struct pn_tlsa *record) {
	const unsigned char *at = (const unsigned char *)record->data.bytes;
	const unsigned char *const end = at + record->data.len;
	bool readable;
	if (record->data.len == 0 || record->data.len > LONG_MAX)
		return 0;
	pn_openssl_enter();
	if (record->selector == PN_TLSA_CERT) {
		X509 *cert = d2i_X509(NULL, &at, (long)record->data.len);
		readable = cert != NULL && X509_get0_pubkey(cert) != NULL;
		X509_free(cert);
	} else {
		X509_PUBKEY *key = d2i_X509_PUBKEY(NULL, &at, (long)record->data.len);
		readable = key != NULL && X509_PUBKEY_get0(key) != NULL;
		X509_PUBKEY_free(key);
	}
	const bool memory = !readable && pn_openssl_no_memory();
	(void)pn_openssl_leave(PN_OK);
	return memory ? PN_ENOMEM : readable && at == end;
}

/* OpenSSL does not report every failed allocation. An unusable record has no effect, and one failed
 * allocation must not cause that: so a negative answer is checked again. */
static int is_surely_whole(const struct pn_tlsa *record) {
	const int whole = is_whole(record);
	return whole != 0 ? whole : is_whole(record);
}

static const char *length_fault(const struct pn_tlsa *record) {
	if (record->match == PN_TLSA_SHA256)
		return record->data.len == SHA256_LEN ? NULL : "a SHA-256 digest has 32 bytes";
	if (record->match == PN_TLSA_SHA512)
		return record->data.len == SHA512_LEN ? NULL : "a SHA-512 digest has 64 bytes";
	return "the matching type is not 0 to 2";
}

/* As pn_tlsa_fault(), but PN_ENOMEM if memory was missing. */
static int check(const struct pn_tlsa *record, const char **fault) {
	*fault = NULL;
	if (record->usage > PN_TLSA_DANE_EE) {
		*fault = "the usage is not 0 to 3";
	} else if (record->selector > PN_TLSA_SPKI) {
		*fault = "the selector is not 0 or 1";
	} else if (record->match != PN_TLSA_FULL) {
		*fault = length_fault(record);
	} else {
		const int whole = is_surely_whole(record);
		if (whole < 0)
			return whole;
		*fault = whole ? NULL
			       : "the data is not the certificate or key that the selector demands";
	}
	return PN_OK;
}

const char *pn_tlsa_fault(const struct pn_tlsa *record) {
	const char *fault;
	return check(record, &fault) == PN_OK ? fault : pn_err_text(PN_ENOMEM);
}

int pn_tlsa_outdone(const struct pn_tlsa *records, size_t count, size_t index) {
	const struct pn_tlsa *own = &records[index];
	if (own->match != PN_TLSA_SHA256)
		return 0;
	for (size_t i = 0; i < count; i++) {
		if (records[i].match == PN_TLSA_SHA512 && records[i].usage == own->usage &&
		    records[i].selector == own->selector && pn_tlsa_fault(&records[i]) == NULL)
			return 1;
	}
	return 0;
}

int pn_records_choose(struct pn_records *records, const struct pn_tlsa *list, size_t count) {
	*records = (struct pn_records){.list = list, .count = count};
	if (count == 0)
		return PN_OK;
	records->usable = pn_malloc(count * sizeof(*records->usable));
	if (records->usable == NULL)
		return PN_ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const char *fault;
		const int err = check(&list[i], &fault);
		if (err != PN_OK) /* not "unusable": then the record would have no effect */
			return err;
		records->usable[i] = fault == NULL && !pn_tlsa_outdone(list, count, i);
		if (records->usable[i])
			records->has_usage[list[i].usage] = records->any = true;
	}
	return PN_OK;
}

void pn_records_free(struct pn_records *records) {
	pn_free(records->usable);
	*records = (struct pn_records){0};
}

const struct pn_tlsa *pn_records_whole(const struct pn_records *records, enum pn_tlsa_usage usage,
				       enum pn_tlsa_selector selector, size_t *next) {
	while (*next < records->count) {
		const bool is_usable = records->usable[*next];
		const struct pn_tlsa *record = &records->list[(*next)++];
		if (is_usable && record->usage == usage && record->selector == selector &&
		    record->match == PN_TLSA_FULL)
			return record;
	}
	return NULL;
}

/* ---- Association data ---- */

/* Appends the data that a record of this matching type has for an encoding. */
static int associate(struct pn_str encoding, unsigned match, struct pn_buf *data) {
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned size = 0;
	if (match == PN_TLSA_FULL) {
		pn_buf_append(data, encoding.bytes, encoding.len);
		return data->err;
	}
	const EVP_MD *type = match == PN_TLSA_SHA256 ? EVP_sha256() : EVP_sha512();
	if (EVP_Digest(encoding.bytes, encoding.len, digest, &size, type, NULL) != 1)
		return PN_ENOMEM;
	pn_buf_append(data, digest, size);
	return data->err;
}

int pn_cert_tlsa(const struct pn_chain *chain, size_t index, unsigned selector, unsigned match,
		 struct pn_buf *data) {
	if (index >= pn_chain_count(chain) || selector > PN_TLSA_SPKI || match > PN_TLSA_SHA512)
		return PN_EINVAL;
	pn_openssl_enter();
	return pn_openssl_leave(
		associate(chain->certs[index].parts.encoding[selector], match, data));
}

/* ---- Finding a certificate's record ---- */

/* Association data of one certificate, computed at the first use of each. */
struct associations {
	const struct pn_der_parts *parts;
	struct pn_buf data[SELECTORS][MATCHES]; /* owned */
};

/* Returns 1, 0, or a negative code. */
static int is_associated(struct associations *of, const struct pn_tlsa *record) {
	struct pn_buf *data = &of->data[record->selector][record->match];
	if (data->len == 0) {
		const int err =
			associate(of->parts->encoding[record->selector], record->match, data);
		if (err != PN_OK)
			return err;
	}
	return data->len == record->data.len &&
	       memcmp(data->data, record->data.bytes, data->len) == 0;
}

int pn_records_find(const struct pn_records *records, enum pn_tlsa_usage usage,
		    const struct pn_der_parts *parts, size_t *index) {
	struct associations of = {.parts = parts};
	int found = 0;
	for (size_t i = 0; i < records->count && found == 0; i++) {
		if (!records->usable[i] || records->list[i].usage != usage)
			continue;
		found = is_associated(&of, &records->list[i]);
		*index = i;
	}
	for (int i = 0; i < SELECTORS * MATCHES; i++)
		pn_buf_free(&of.data[i / MATCHES][i % MATCHES]);
	return found;
}

int pn_records_find_x509(const struct pn_records *records, enum pn_tlsa_usage usage,
			 const X509 *cert, size_t *index) {
	unsigned char *der = NULL;
	struct pn_der_parts parts;
	const int len = i2d_X509(cert, &der);
	int found = PN_ECERT;
	if (len > 0 && pn_der_find((struct pn_str){(const char *)der, (size_t)len}, &parts))
		found = pn_records_find(records, usage, &parts, index);
	OPENSSL_free(der);
	return found;
}
