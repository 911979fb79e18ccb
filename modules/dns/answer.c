/* Parsing of packets, which may hold any bytes. */
#include <ctype.h>
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "dns.h"

int pn_dns_status(ldns_status status) {
	switch (status) {
	case LDNS_STATUS_OK:
		return PN_OK;
	case LDNS_STATUS_MEM_ERR:
		return PN_ENOMEM;
	case LDNS_STATUS_NETWORK_ERR:
	case LDNS_STATUS_SOCKET_ERROR:
	case LDNS_STATUS_RES_QUERY:
	case LDNS_STATUS_RES_NO_NS:
	case LDNS_STATUS_ADDRESS_ERR:
		return PN_ENOANSWER;
	default:
		return PN_EINVAL;
	}
}

int pn_dns_type_number(const char *name) {
#define PN_DNS_NUMBER(type, number)                                                                \
	if (strcmp(name, #type) == 0)                                                              \
		return number;
	PN_DNS_TYPES(PN_DNS_NUMBER)
#undef PN_DNS_NUMBER
	return PN_EINVAL;
}

void pn_dns_answer_free(struct pn_dns_answer *answer) {
	for (size_t i = 0; i < answer->record_count; i++)
		pn_buf_free(&answer->records[i].value);
	pn_free(answer->records);
	pn_free(answer->signatures);
	pn_buf_free(&answer->reason);
	*answer = (struct pn_dns_answer){0};
}

/* ---- Fields ---- */

static bool has_fields(const ldns_rr *rr, size_t count) {
	if (ldns_rr_rd_count(rr) < count)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (ldns_rr_rdf(rr, i) == NULL)
			return false;
	}
	return true;
}

/* The field as an integer, by its size on the wire. */
static uint32_t number_of(const ldns_rr *rr, size_t field) {
	const ldns_rdf *rdf = ldns_rr_rdf(rr, field);
	const uint8_t *bytes = ldns_rdf_data(rdf);
	const size_t size = ldns_rdf_size(rdf);
	uint32_t number = 0;
	for (size_t i = 0; i < size && i < sizeof(number); i++)
		number = number << 8 | bytes[i];
	return number;
}

/* Copies the text of a name or an address, without the final dot. */
static int copy_text(char *to, size_t size, const ldns_rdf *rdf) {
	char *text = rdf != NULL ? ldns_rdf2str(rdf) : NULL;
	if (text == NULL)
		return PN_ENOMEM;
	size_t len = strlen(text);
	/* "\." belongs to a label, but a name in presentation form always ends with the dot of the
	 * root */
	if (len > 1 && ldns_rdf_get_type(rdf) == LDNS_RDF_TYPE_DNAME && text[len - 1] == '.')
		len--;
	const bool fits = len < size;
	if (fits) {
		memcpy(to, text, len);
		to[len] = '\0';
	}
	LDNS_FREE(text);
	return fits ? PN_OK : PN_EINVAL;
}

static int append_text(struct pn_buf *to, const ldns_rdf *rdf) {
	char text[PN_DNS_NAME];
	const int err = copy_text(text, sizeof(text), rdf);
	if (err != PN_OK)
		return err;
	pn_buf_append(to, text, strlen(text));
	return to->err;
}

static int append_bytes(struct pn_buf *to, const ldns_rdf *rdf) {
	pn_buf_append(to, ldns_rdf_data(rdf), ldns_rdf_size(rdf));
	return to->err;
}

/* ---- Records ---- */

static int read_srv(struct pn_dns_record *record, const ldns_rr *rr) {
	if (!has_fields(rr, 4))
		return PN_EINVAL;
	for (size_t i = 0; i < 3; i++)
		record->numbers[i] = number_of(rr, i);
	return append_text(&record->value, ldns_rr_rdf(rr, 3));
}

/* Three numbers and data. A record without data is malformed; callers report that. */
static int read_data(struct pn_dns_record *record, const ldns_rr *rr) {
	if (!has_fields(rr, 3))
		return PN_EINVAL;
	for (size_t i = 0; i < 3; i++)
		record->numbers[i] = number_of(rr, i);
	return has_fields(rr, 4) ? append_bytes(&record->value, ldns_rr_rdf(rr, 3)) : PN_OK;
}

/* The field of the tag begins with its length, one byte. */
static int read_caa(struct pn_dns_record *record, const ldns_rr *rr) {
	if (!has_fields(rr, 3) || ldns_rdf_size(ldns_rr_rdf(rr, 1)) < 1)
		return PN_EINVAL;
	const uint8_t *tag = ldns_rdf_data(ldns_rr_rdf(rr, 1)) + 1;
	const size_t len = ldns_rdf_size(ldns_rr_rdf(rr, 1)) - 1;
	if (len >= sizeof(record->tag))
		return PN_EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum(tag[i])) /* RFC 8659 section 4.1 */
			return PN_EINVAL;
		record->tag[i] = (char)tag[i];
	}
	record->numbers[0] = number_of(rr, 0);
	return append_bytes(&record->value, ldns_rr_rdf(rr, 2));
}

static int read_record(struct pn_dns_record *record, const ldns_rr *rr, enum pn_dns_type type) {
	record->ttl = ldns_rr_ttl(rr);
	switch (type) {
	case PN_DNS_SRV:
		return read_srv(record, rr);
	case PN_DNS_DS:
	case PN_DNS_DNSKEY:
	case PN_DNS_TLSA:
		return read_data(record, rr);
	case PN_DNS_CAA:
		return read_caa(record, rr);
	default:
		return has_fields(rr, 1) ? append_text(&record->value, ldns_rr_rdf(rr, 0))
					 : PN_EINVAL;
	}
}

static int read_signature(struct pn_dns_signature *signature, const ldns_rr *rr) {
	if (!has_fields(rr, 9))
		return PN_EINVAL;
	char *type = ldns_rr_type2str((ldns_rr_type)number_of(rr, 0));
	if (type == NULL)
		return PN_ENOMEM;
	strncpy(signature->type, type, sizeof(signature->type) - 1);
	LDNS_FREE(type);
	signature->original_ttl = number_of(rr, 3);
	signature->expiration = number_of(rr, 4);
	signature->inception = number_of(rr, 5);
	signature->key_tag = (uint16_t)number_of(rr, 6);
	return copy_text(signature->signer, sizeof(signature->signer), ldns_rr_rdf(rr, 7));
}

/* ---- Sections ---- */

static bool is_of_type(const ldns_rr *rr, unsigned type) {
	return (unsigned)ldns_rr_get_type(rr) == type && ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN;
}

static size_t count_of_type(const ldns_rr_list *section, unsigned type) {
	size_t count = 0;
	for (size_t i = 0; i < ldns_rr_list_rr_count(section); i++)
		count += is_of_type(ldns_rr_list_rr(section, i), type) ? 1 : 0;
	return count;
}

/* Zeroed room for `count` items; NULL for 0. */
static int make_room(void **items, size_t count, size_t size) {
	if (count == 0)
		return PN_OK;
	*items = pn_malloc(count * size); /* a packet has at most 64 KiB */
	if (*items == NULL)
		return PN_ENOMEM;
	memset(*items, 0, count * size);
	return PN_OK;
}

static int read_records(struct pn_dns_answer *answer, const ldns_rr_list *section,
			enum pn_dns_type type) {
	void *room = NULL;
	int err = make_room(&room, count_of_type(section, type), sizeof(*answer->records));
	answer->records = room;
	for (size_t i = 0; err == PN_OK && i < ldns_rr_list_rr_count(section); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(section, i);
		if (is_of_type(rr, type))
			err = read_record(&answer->records[answer->record_count++], rr, type);
	}
	return err;
}

static int read_signatures(struct pn_dns_answer *answer, const ldns_rr_list *section) {
	void *room = NULL;
	int err = make_room(&room, count_of_type(section, LDNS_RR_TYPE_RRSIG),
			    sizeof(*answer->signatures));
	answer->signatures = room;
	for (size_t i = 0; err == PN_OK && i < ldns_rr_list_rr_count(section); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(section, i);
		if (is_of_type(rr, LDNS_RR_TYPE_RRSIG))
			err = read_signature(&answer->signatures[answer->signature_count++], rr);
	}
	return err;
}

/* Follows the aliases from the question on; servers send them in order (RFC 1034, 4.3.2). */
static int read_aliases(struct pn_dns_answer *answer, const ldns_pkt *packet) {
	const ldns_rr_list *section = ldns_pkt_answer(packet);
	const ldns_rdf *name = ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_question(packet), 0));
	for (size_t i = 0; i < ldns_rr_list_rr_count(section); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(section, i);
		if (!is_of_type(rr, LDNS_RR_TYPE_CNAME) || !has_fields(rr, 1) ||
		    ldns_dname_compare(ldns_rr_owner(rr), name) != 0)
			continue;
		name = ldns_rr_rdf(rr, 0);
		answer->aliased = true;
	}
	return copy_text(answer->canonical, sizeof(answer->canonical), name);
}

/* ---- TTLs ---- */

static void shorten(struct pn_dns_answer *answer, uint32_t ttl) {
	answer->ttl = answer->has_ttl && answer->ttl < ttl ? answer->ttl : ttl;
	answer->has_ttl = true;
}

/* A resolver's cache counts the TTL down; the signature has the published TTL. */
static uint32_t published_ttl(const ldns_rr_list *section, const ldns_rr *rr) {
	const uint32_t type = ldns_rr_get_type(rr);
	for (size_t i = 0; i < ldns_rr_list_rr_count(section); i++) {
		const ldns_rr *signature = ldns_rr_list_rr(section, i);
		if (is_of_type(signature, LDNS_RR_TYPE_RRSIG) && has_fields(signature, 9) &&
		    number_of(signature, 0) == type &&
		    ldns_dname_compare(ldns_rr_owner(signature), ldns_rr_owner(rr)) == 0)
			return number_of(signature, 3);
	}
	return ldns_rr_ttl(rr);
}

/* The shortest TTL of the answer, aliases included. */
static void read_ttl(struct pn_dns_answer *answer, const ldns_pkt *packet, enum pn_dns_type type) {
	const ldns_rr_list *section = ldns_pkt_answer(packet);
	for (size_t i = 0; i < ldns_rr_list_rr_count(section); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(section, i);
		if (is_of_type(rr, type) || is_of_type(rr, LDNS_RR_TYPE_CNAME))
			shorten(answer, published_ttl(section, rr));
	}
	section = ldns_pkt_authority(packet);
	for (size_t i = 0; answer->record_count == 0 && i < ldns_rr_list_rr_count(section); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(section, i);
		if (!is_of_type(rr, LDNS_RR_TYPE_SOA) || !has_fields(rr, 7))
			continue;
		shorten(answer, published_ttl(section, rr)); /* RFC 2308 section 5 */
		shorten(answer, number_of(rr, 6));
	}
}

/* ---- Packets ---- */

int pn_dns_read(const ldns_pkt *packet, enum pn_dns_type type, struct pn_dns_answer *answer) {
	if (!ldns_pkt_qr(packet) || ldns_rr_list_rr_count(ldns_pkt_question(packet)) != 1 ||
	    !is_of_type(ldns_rr_list_rr(ldns_pkt_question(packet), 0), type))
		return PN_EINVAL;
	answer->rcode = ldns_pkt_get_rcode(packet);
	answer->nxdomain = answer->rcode == LDNS_RCODE_NXDOMAIN;
	answer->authoritative = ldns_pkt_aa(packet);
	int err = read_records(answer, ldns_pkt_answer(packet), type);
	if (err == PN_OK)
		err = read_signatures(answer, answer->record_count > 0
						      ? ldns_pkt_answer(packet)
						      : ldns_pkt_authority(packet));
	if (err == PN_OK)
		err = read_aliases(answer, packet);
	if (err == PN_OK)
		read_ttl(answer, packet, type);
	return err;
}

int pn_dns_parse(struct pn_str bytes, enum pn_dns_type type, struct pn_dns_answer *answer) {
	ldns_pkt *packet = NULL;
	*answer = (struct pn_dns_answer){0};
	const ldns_status status = ldns_wire2pkt(&packet, (const uint8_t *)bytes.bytes, bytes.len);
	int err = pn_dns_status(status);
	if (err == PN_OK)
		err = pn_dns_read(packet, type, answer);
	ldns_pkt_free(packet);
	return err;
}
