/*
 * The input is a byte that picks a type, and a packet. Either it is refused, or the result conforms
 * to pn/dns.h.
 */
#include <arpa/inet.h>
#include <ctype.h>

#include <pn/dns.h>
#include <pn/err.h>

#include "fuzz.h"

static const enum pn_dns_type TYPES[] = {
#define FUZZ_TYPE(name, number) PN_DNS_##name,
	PN_DNS_TYPES(FUZZ_TYPE)
#undef FUZZ_TYPE
};

/* Presentation form: printable, and bounded by the array. */
static void check_name(const char *name) {
	const size_t len = strnlen(name, PN_DNS_NAME);
	FUZZ_ASSERT(len > 0 && len < PN_DNS_NAME);
	for (size_t i = 0; i < len; i++)
		FUZZ_ASSERT(isprint((unsigned char)name[i]));
}

static void check_address(int family, const struct pn_buf *value) {
	char text[INET6_ADDRSTRLEN + 1] = "";
	unsigned char bytes[sizeof(struct in6_addr)];
	FUZZ_ASSERT(value->len < sizeof(text));
	memcpy(text, value->data, value->len);
	FUZZ_ASSERT(inet_pton(family, text, bytes) == 1);
}

static void check_record(const struct pn_dns_record *record, enum pn_dns_type type) {
	const bool wide = type == PN_DNS_SRV || type == PN_DNS_DS || type == PN_DNS_DNSKEY;
	const unsigned limit = wide ? UINT16_MAX : UINT8_MAX;
	for (int i = 0; i < 3; i++)
		FUZZ_ASSERT(record->numbers[i] <= limit);
	FUZZ_ASSERT(strnlen(record->tag, PN_DNS_TEXT) < PN_DNS_TEXT);
	FUZZ_ASSERT(type == PN_DNS_CAA || record->tag[0] == '\0');
	FUZZ_ASSERT(record->value.err == PN_OK && record->value.len <= UINT16_MAX);
	if (type == PN_DNS_A || type == PN_DNS_AAAA)
		check_address(type == PN_DNS_A ? AF_INET : AF_INET6, &record->value);
	if (type == PN_DNS_SRV || type == PN_DNS_NS || type == PN_DNS_CNAME)
		FUZZ_ASSERT(record->value.len > 0 && record->value.len < PN_DNS_NAME);
}

static void check_answer(const struct pn_dns_answer *answer, enum pn_dns_type type) {
	FUZZ_ASSERT(!answer->secure && !answer->bogus && answer->reason.len == 0);
	FUZZ_ASSERT(answer->nxdomain == (answer->rcode == 3));
	FUZZ_ASSERT(answer->has_ttl || answer->record_count == 0);
	FUZZ_ASSERT(answer->has_ttl || answer->ttl == 0);
	check_name(answer->canonical);
	for (size_t i = 0; i < answer->record_count; i++)
		check_record(&answer->records[i], type);
	for (size_t i = 0; i < answer->signature_count; i++) {
		check_name(answer->signatures[i].signer);
		FUZZ_ASSERT(answer->signatures[i].type[0] != '\0');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct fuzz_input in = {data, size};
	struct pn_dns_answer answer;
	const enum pn_dns_type type = TYPES[fuzz_u8(&in) % (sizeof(TYPES) / sizeof(*TYPES))];
	const int err = pn_dns_parse((struct pn_str){(const char *)in.pos, in.left}, type, &answer);
	FUZZ_ASSERT(err == PN_OK || err == PN_EINVAL);
	if (err == PN_OK)
		check_answer(&answer, type);
	pn_dns_answer_free(&answer);
	FUZZ_ASSERT(answer.records == NULL && answer.record_count == 0);
	return 0;
}
