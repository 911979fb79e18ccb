/* pn/dns.h: packets made by hand, questions to a name server that is a thread, settings. */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pn/dns.h>
#include <pn/err.h>
#include <pn/wire.h>

#include "../oom/alloc.h"
#include "guard.h"
#include "test.h"

enum {
	RESPONSE = 0x8400, /* QR and AA */
	NAME_ERROR = 3,
	CLASS_IN = 1,
	SOA = 6,
	RRSIG = 46,
	HEADER = 12,
	QUESTION = 0xc00c /* a compressed name: that of the question */
};

/* ---- Packets ---- */

static void put_u16(struct pn_buf *packet, unsigned value) {
	pn_wire_put_u8(packet, (uint8_t)(value >> 8));
	pn_wire_put_u8(packet, (uint8_t)value);
}

/* A name as dotted text; "" is the root. */
static void put_name(struct pn_buf *packet, const char *name) {
	while (*name != '\0') {
		const size_t len = strcspn(name, ".");
		pn_wire_put_u8(packet, (uint8_t)len);
		pn_buf_append(packet, name, len);
		name += len + (name[len] == '.' ? 1 : 0);
	}
	pn_wire_put_u8(packet, 0);
}

/* The header and the question; records are counted by put_record(). */
static struct pn_buf response(unsigned flags, const char *name, unsigned type) {
	struct pn_buf packet = {0};
	const unsigned header[] = {0x1234, flags, 1, 0, 0, 0};
	for (int i = 0; i < 6; i++)
		put_u16(&packet, header[i]);
	put_name(&packet, name);
	put_u16(&packet, type);
	put_u16(&packet, CLASS_IN);
	return packet;
}

enum section { ANSWER = 7, AUTHORITY = 9 }; /* where the header counts it */

/* Adds a record, its data given; it is the question's where owner is NULL. */
static void put_record(struct pn_buf *packet, enum section section, const char *owner,
		       unsigned type, uint32_t ttl, const struct pn_buf *data) {
	packet->data[section]++;
	if (owner != NULL)
		put_name(packet, owner);
	else
		put_u16(packet, QUESTION);
	put_u16(packet, type);
	put_u16(packet, CLASS_IN);
	pn_wire_put_u32(packet, ttl);
	put_u16(packet, (unsigned)data->len);
	pn_buf_append(packet, data->data, data->len);
}

static void put_bytes(struct pn_buf *packet, unsigned type, const void *bytes, size_t len) {
	struct pn_buf data = {0};
	pn_buf_append(&data, bytes, len);
	put_record(packet, ANSWER, NULL, type, 60, &data);
	pn_buf_free(&data);
}

static void put_alias(struct pn_buf *packet, const char *owner, const char *target, uint32_t ttl) {
	struct pn_buf data = {0};
	put_name(&data, target);
	put_record(packet, ANSWER, owner, PN_DNS_CNAME, ttl, &data);
	pn_buf_free(&data);
}

static void put_srv(struct pn_buf *packet, uint32_t ttl, const char *target) {
	struct pn_buf data = {0};
	put_u16(&data, 1);
	put_u16(&data, 2);
	put_u16(&data, 65535);
	put_name(&data, target);
	put_record(packet, ANSWER, NULL, PN_DNS_SRV, ttl, &data);
	pn_buf_free(&data);
}

static void put_signature(struct pn_buf *packet, enum section section, unsigned type,
			  uint32_t original_ttl) {
	struct pn_buf data = {0};
	put_u16(&data, type);
	pn_wire_put_u8(&data, 13);
	pn_wire_put_u8(&data, 2);
	pn_wire_put_u32(&data, original_ttl);
	pn_wire_put_u32(&data, 2000000000);
	pn_wire_put_u32(&data, 1900000000);
	put_u16(&data, 4711);
	put_name(&data, "a.example");
	pn_buf_append(&data, "signature", 9);
	put_record(packet, section, NULL, RRSIG, 7, &data);
	pn_buf_free(&data);
}

static void put_soa(struct pn_buf *packet, uint32_t ttl, uint32_t minimum) {
	struct pn_buf data = {0};
	put_name(&data, "ns.example");
	put_name(&data, "hostmaster.example");
	for (uint32_t i = 1; i <= 4; i++)
		pn_wire_put_u32(&data, i);
	pn_wire_put_u32(&data, minimum);
	put_record(packet, AUTHORITY, NULL, SOA, ttl, &data);
	pn_buf_free(&data);
}

/* Reads the packet, and frees it. */
static int parse(struct pn_buf *packet, enum pn_dns_type type, struct pn_dns_answer *answer) {
	const struct pn_str bytes = {(const char *)packet->data, packet->len};
	const int err = pn_dns_parse(bytes, type, answer);
	pn_buf_free(packet);
	return err;
}

static bool is(const struct pn_buf *value, const char *text) {
	return value->len == strlen(text) && memcmp(value->data, text, value->len) == 0;
}

/* What one record with these bytes becomes. */
static int parse_one(unsigned type, const void *bytes, size_t len, struct pn_dns_answer *answer) {
	struct pn_buf packet = response(RESPONSE, "a.example", type);
	put_bytes(&packet, type, bytes, len);
	return parse(&packet, (enum pn_dns_type)type, answer);
}

/* ---- Records ---- */

TEST(an_srv_record_has_its_numbers_and_a_target_in_the_letters_that_were_sent) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_SRV);
	put_srv(&packet, 300, "XmPP.Example");
	put_srv(&packet, 300, "");
	CHECK(parse(&packet, PN_DNS_SRV, &answer) == PN_OK);
	REQUIRE(answer.record_count == 2);
	CHECK(answer.records[0].numbers[0] == 1 && answer.records[0].numbers[1] == 2);
	CHECK(answer.records[0].numbers[2] == 65535 && answer.records[0].ttl == 300);
	CHECK(is(&answer.records[0].value, "XmPP.Example"));
	CHECK(is(&answer.records[1].value, "."));
	CHECK(answer.authoritative && !answer.secure && !answer.nxdomain && answer.rcode == 0);
	pn_dns_answer_free(&answer);
}

TEST(addresses_are_texts) {
	struct pn_dns_answer answer;
	const unsigned char six[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
	CHECK(parse_one(PN_DNS_A, "\x7f\0\0\1", 4, &answer) == PN_OK);
	CHECK(answer.record_count == 1 && is(&answer.records[0].value, "127.0.0.1"));
	pn_dns_answer_free(&answer);
	CHECK(parse_one(PN_DNS_AAAA, six, sizeof(six), &answer) == PN_OK);
	CHECK(answer.record_count == 1 && is(&answer.records[0].value, "2001:db8::1"));
	pn_dns_answer_free(&answer);
}

TEST(an_address_that_is_too_short_is_refused) {
	struct pn_dns_answer answer;
	CHECK(parse_one(PN_DNS_A, "\x7f\0\0\1", 3, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
	CHECK(parse_one(PN_DNS_AAAA, "\x7f\0\0\1", 4, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
}

TEST(tlsa_data_are_bytes_and_any_numbers_are_kept) {
	struct pn_dns_answer answer;
	CHECK(parse_one(PN_DNS_TLSA, "\3\1\xff\0\xab\n", 6, &answer) == PN_OK);
	REQUIRE(answer.record_count == 1);
	CHECK(answer.records[0].numbers[0] == 3 && answer.records[0].numbers[2] == 255);
	CHECK(answer.records[0].value.len == 3);
	CHECK(memcmp(answer.records[0].value.data, "\0\xab\n", 3) == 0);
	pn_dns_answer_free(&answer);
}

TEST(tlsa_without_data_is_valid_and_with_less_than_three_numbers_is_not) {
	struct pn_dns_answer answer;
	CHECK(parse_one(PN_DNS_TLSA, "\3\1\1", 3, &answer) == PN_OK);
	CHECK(answer.record_count == 1 && answer.records[0].value.len == 0);
	pn_dns_answer_free(&answer);
	CHECK(parse_one(PN_DNS_TLSA, "\3\1", 2, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
}

TEST(ds_and_dnskey_have_a_wide_number_and_two_narrow_ones_before_their_data) {
	struct pn_dns_answer answer;
	CHECK(parse_one(PN_DNS_DS, "\x12\x34\xfa\2\xab\0", 6, &answer) == PN_OK);
	REQUIRE(answer.record_count == 1);
	CHECK(answer.records[0].numbers[0] == 0x1234 && answer.records[0].numbers[1] == 250 &&
	      answer.records[0].numbers[2] == 2);
	CHECK(answer.records[0].value.len == 2 &&
	      memcmp(answer.records[0].value.data, "\xab\0", 2) == 0);
	pn_dns_answer_free(&answer);
	CHECK(parse_one(PN_DNS_DNSKEY, "\1\1\3\xd\0key", 8, &answer) == PN_OK);
	REQUIRE(answer.record_count == 1);
	CHECK(answer.records[0].numbers[0] == 257 && answer.records[0].numbers[1] == 3 &&
	      answer.records[0].numbers[2] == 13);
	CHECK(answer.records[0].value.len == 4);
	pn_dns_answer_free(&answer);
	CHECK(parse_one(PN_DNS_DS, "\x12\x34\xfa", 3, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
}

TEST(caa_has_flags_a_tag_and_a_value_of_any_bytes) {
	struct pn_dns_answer answer;
	CHECK(parse_one(PN_DNS_CAA, "\x80\5issueca\0\"", 11, &answer) == PN_OK);
	REQUIRE(answer.record_count == 1);
	CHECK(answer.records[0].numbers[0] == 128);
	CHECK_STR(answer.records[0].tag, "issue");
	CHECK(answer.records[0].value.len == 4);
	CHECK(memcmp(answer.records[0].value.data, "ca\0\"", 4) == 0);
	pn_dns_answer_free(&answer);
}

TEST(a_caa_tag_that_is_not_a_word_or_longer_than_the_record_is_refused) {
	struct pn_dns_answer answer;
	CHECK(parse_one(PN_DNS_CAA, "\0\5is\0ueca", 9, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
	CHECK(parse_one(PN_DNS_CAA, "\0\xffissue", 7, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
}

TEST(records_of_other_types_and_classes_are_ignored) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_A);
	put_bytes(&packet, PN_DNS_TLSA, "\3\1\1", 3);
	put_bytes(&packet, PN_DNS_A, "\x7f\0\0\1", 4);
	packet.data[packet.len - 11] = 3; /* the class of the last: CHAOS */
	CHECK(parse(&packet, PN_DNS_A, &answer) == PN_OK);
	CHECK(answer.record_count == 0);
	pn_dns_answer_free(&answer);
}

TEST(bytes_of_a_name_that_cannot_be_printed_are_escaped) {
	struct pn_dns_answer answer;
	CHECK(parse_one(PN_DNS_NS, "\4\1.a\x1b\0", 6, &answer) == PN_OK);
	CHECK(answer.record_count == 1 && is(&answer.records[0].value, "\\001\\.a\\027"));
	pn_dns_answer_free(&answer);
}

TEST(a_name_that_points_to_itself_is_refused) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_NS);
	const size_t where = packet.len + 12; /* the data of the record that comes */
	const unsigned char loop[] = {(unsigned char)(0xc0 | where >> 8), (unsigned char)where};
	put_bytes(&packet, PN_DNS_NS, loop, sizeof(loop));
	CHECK(parse(&packet, PN_DNS_NS, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
}

/* ---- Aliases ---- */

TEST(the_canonical_name_is_the_end_of_the_chain_of_aliases) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_A);
	put_alias(&packet, NULL, "b.example", 60);
	put_alias(&packet, "B.example", "c.example", 60);
	put_alias(&packet, "elsewhere.example", "d.example", 60);
	CHECK(parse(&packet, PN_DNS_A, &answer) == PN_OK);
	CHECK(answer.aliased);
	CHECK_STR(answer.canonical, "c.example");
	pn_dns_answer_free(&answer);
}

TEST(without_an_alias_the_canonical_name_is_the_name) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_A);
	CHECK(parse(&packet, PN_DNS_A, &answer) == PN_OK);
	CHECK(!answer.aliased);
	CHECK_STR(answer.canonical, "a.example");
	pn_dns_answer_free(&answer);
}

/* ---- TTLs and signatures ---- */

TEST(the_ttl_is_the_one_that_was_signed) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_SRV);
	put_srv(&packet, 17, "x.example");
	put_signature(&packet, ANSWER, PN_DNS_TLSA, 5);
	put_signature(&packet, ANSWER, PN_DNS_SRV, 3600);
	CHECK(parse(&packet, PN_DNS_SRV, &answer) == PN_OK);
	CHECK(answer.has_ttl && answer.ttl == 3600 && answer.records[0].ttl == 17);
	REQUIRE(answer.signature_count == 2);
	CHECK_STR(answer.signatures[1].type, "SRV");
	CHECK_STR(answer.signatures[1].signer, "a.example");
	CHECK(answer.signatures[1].key_tag == 4711);
	CHECK(answer.signatures[1].expiration == 2000000000);
	CHECK(answer.signatures[1].inception == 1900000000);
	CHECK(answer.signatures[1].original_ttl == 3600);
	pn_dns_answer_free(&answer);
}

TEST(without_signatures_the_ttl_is_that_of_the_records_and_aliases_shorten_it) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_A);
	put_alias(&packet, NULL, "b.example", 30);
	put_bytes(&packet, PN_DNS_A, "\x7f\0\0\1", 4);
	CHECK(parse(&packet, PN_DNS_A, &answer) == PN_OK);
	CHECK(answer.has_ttl && answer.ttl == 30);
	pn_dns_answer_free(&answer);
}

TEST(a_negative_answer_lasts_for_the_smaller_of_the_soas_ttl_and_minimum) {
	static const uint32_t CASES[][2] = {{900, 60}, {60, 900}};
	for (size_t i = 0; i < 2; i++) {
		struct pn_dns_answer answer;
		struct pn_buf packet = response(RESPONSE | NAME_ERROR, "a.example", PN_DNS_SRV);
		put_soa(&packet, CASES[i][0], CASES[i][1]);
		put_signature(&packet, AUTHORITY, SOA, CASES[i][0]);
		CHECK(parse(&packet, PN_DNS_SRV, &answer) == PN_OK);
		CHECK(answer.nxdomain && answer.rcode == NAME_ERROR && answer.record_count == 0);
		CHECK(answer.has_ttl && answer.ttl == 60);
		CHECK(answer.signature_count == 1);
		pn_dns_answer_free(&answer);
	}
}

TEST(an_empty_answer_without_a_soa_has_no_ttl) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_SRV);
	CHECK(parse(&packet, PN_DNS_SRV, &answer) == PN_OK);
	CHECK(!answer.has_ttl && answer.record_count == 0 && !answer.nxdomain);
	pn_dns_answer_free(&answer);
}

/* ---- Invalid answers ---- */

TEST(a_question_and_an_answer_to_another_question_are_refused) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(0, "a.example", PN_DNS_SRV);
	CHECK(parse(&packet, PN_DNS_SRV, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
	packet = response(RESPONSE, "a.example", PN_DNS_A);
	CHECK(parse(&packet, PN_DNS_SRV, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
	packet = response(RESPONSE, "a.example", PN_DNS_SRV);
	packet.data[5] = 0; /* no question */
	CHECK(parse(&packet, PN_DNS_SRV, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
}

/* Everything that a packet can hold. */
static struct pn_buf full_packet(void) {
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_SRV);
	put_alias(&packet, NULL, "b.example", 60);
	put_srv(&packet, 60, "x.example");
	put_signature(&packet, ANSWER, PN_DNS_SRV, 60);
	put_soa(&packet, 60, 60);
	return packet;
}

TEST(every_truncation_is_refused_without_reading_beyond_the_packet) {
	struct pn_buf packet = full_packet();
	struct guard guard = guard_new(packet.len);
	for (size_t len = 0; len <= packet.len; len++) {
		struct pn_dns_answer answer;
		const struct pn_str bytes = {guard_put(&guard, packet.data, len), len};
		const int err = pn_dns_parse(bytes, PN_DNS_SRV, &answer);
		CHECK(err == (len == packet.len ? PN_OK : PN_EINVAL));
		pn_dns_answer_free(&answer);
	}
	guard_free(&guard);
	pn_buf_free(&packet);
}

TEST(every_changed_byte_gives_an_answer_or_is_refused) {
	struct pn_buf packet = full_packet();
	struct guard guard = guard_new(packet.len);
	for (size_t i = 0; i < packet.len; i++) {
		for (unsigned change = 1; change <= UINT8_MAX; change++) {
			struct pn_dns_answer answer;
			packet.data[i] = (unsigned char)(packet.data[i] ^ change);
			const char *bytes = guard_put(&guard, packet.data, packet.len);
			const int err = pn_dns_parse((struct pn_str){bytes, packet.len}, PN_DNS_SRV,
						     &answer);
			CHECK(err == PN_OK || err == PN_EINVAL);
			pn_dns_answer_free(&answer);
			packet.data[i] = (unsigned char)(packet.data[i] ^ change);
		}
	}
	guard_free(&guard);
	pn_buf_free(&packet);
}

TEST(each_failing_allocation_is_an_error_and_does_not_leak) {
	struct pn_buf packet = full_packet();
	const struct pn_str bytes = {(const char *)packet.data, packet.len};
	const size_t held = test_alloc.blocks;
	size_t failures = 0;
	int err = PN_ENOMEM;
	for (size_t nth = 1; err == PN_ENOMEM; nth++) {
		struct pn_dns_answer answer;
		test_alloc_fail(nth, false);
		err = pn_dns_parse(bytes, PN_DNS_SRV, &answer);
		test_alloc_fail(0, false);
		pn_dns_answer_free(&answer);
		CHECK(test_alloc.blocks == held);
		failures += err == PN_ENOMEM ? 1 : 0;
	}
	CHECK(err == PN_OK && failures == 3); /* records, signatures, a target */
	pn_buf_free(&packet);
}

TEST(types_have_numbers_by_their_names) {
	CHECK(pn_dns_type_number("SRV") == 33);
	CHECK(pn_dns_type_number("CAA") == 257);
	CHECK(pn_dns_type_number("srv") == PN_EINVAL);
	CHECK(pn_dns_type_number("") == PN_EINVAL);
}

/* ---- A name server ---- */

/* Answers one question by UDP with the given answer, for any question. */
struct server {
	int socket;
	uint16_t port;
	pthread_t thread;
	struct pn_buf answer;
	unsigned char flags; /* of the question: its third byte */
};

static void *serve(void *context) {
	struct server *server = context;
	unsigned char query[512];
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	const ssize_t len =
		recvfrom(server->socket, query, sizeof(query), 0, (struct sockaddr *)&from, &size);
	if (len < HEADER)
		return NULL;
	server->flags = query[2];
	memcpy(server->answer.data, query, 2);
	if (sendto(server->socket, server->answer.data, server->answer.len, 0,
		   (struct sockaddr *)&from, size) < 0)
		perror("sendto");
	return NULL;
}

static struct server *server_new(struct pn_buf answer) {
	struct server *server = calloc(1, sizeof(*server));
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	const struct timeval limit = {.tv_sec = 10}; /* a question that never comes ends the test */
	server->answer = answer;
	server->socket = socket(AF_INET, SOCK_DGRAM, 0);
	REQUIRE(setsockopt(server->socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	REQUIRE(bind(server->socket, (struct sockaddr *)&address, size) == 0);
	REQUIRE(getsockname(server->socket, (struct sockaddr *)&address, &size) == 0);
	server->port = ntohs(address.sin_port);
	REQUIRE(pthread_create(&server->thread, NULL, serve, server) == 0);
	return server;
}

/* Waits for the question that was asked. Returns the third byte of its header. */
static unsigned char server_free(struct server *server) {
	pthread_join(server->thread, NULL);
	const unsigned char flags = server->flags;
	close(server->socket);
	pn_buf_free(&server->answer);
	free(server);
	return flags;
}

TEST(a_name_server_is_asked_without_recursion) {
	struct pn_dns_answer answer;
	struct pn_buf packet = response(RESPONSE, "a.example", PN_DNS_SRV);
	put_srv(&packet, 60, "x.example");
	struct server *server = server_new(packet);
	CHECK(pn_dns_ask("127.0.0.1", server->port, "a.example", PN_DNS_SRV, &answer) == PN_OK);
	CHECK(answer.authoritative && answer.record_count == 1);
	CHECK((server_free(server) & 1) == 0);
	pn_dns_answer_free(&answer);
}

TEST(a_server_failure_is_an_answer) {
	struct pn_dns_answer answer;
	struct server *server = server_new(response(RESPONSE | 2, "a.example", PN_DNS_SRV));
	CHECK(pn_dns_ask("127.0.0.1", server->port, "a.example", PN_DNS_SRV, &answer) == PN_OK);
	CHECK(answer.rcode == 2 && answer.record_count == 0);
	server_free(server);
	pn_dns_answer_free(&answer);
}

TEST(an_address_without_a_server_is_an_error_of_its_own) {
	struct pn_dns_answer answer;
	CHECK(pn_dns_ask("127.0.0.1", 1, "a.example", PN_DNS_SRV, &answer) == PN_ENOANSWER);
	pn_dns_answer_free(&answer);
}

TEST(invalid_addresses_and_names_are_refused) {
	struct pn_dns_answer answer;
	char label[65] = "";
	memset(label, 'a', sizeof(label) - 1);
	CHECK(pn_dns_ask("ns.example", 53, "a.example", PN_DNS_SRV, &answer) == PN_EINVAL);
	CHECK(pn_dns_ask("127.0.0.1", 53, label, PN_DNS_SRV, &answer) == PN_EINVAL);
	CHECK(pn_dns_ask("127.0.0.1", 53, "a..example", PN_DNS_SRV, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
}

/* ---- The resolver ---- */

TEST(settings_that_cannot_be_used_are_refused) {
	struct pn_resolver *resolver = NULL;
	REQUIRE(pn_resolver_new(&resolver) == PN_OK);
	CHECK(pn_resolver_set(resolver, PN_DNS_FORWARD, "ns.example") == PN_EINVAL);
	CHECK(pn_resolver_set(resolver, PN_DNS_RESOLVCONF, "/nonexistent") == PN_EINVAL);
	CHECK(pn_resolver_option(resolver, "no-such-option:", "1") == PN_EINVAL);
	CHECK(pn_resolver_option(resolver, "do-ip6:", "no") == PN_OK);
	pn_resolver_free(resolver);
	pn_resolver_free(NULL);
}

TEST(a_trust_anchor_that_cannot_be_read_fails_with_every_lookup) {
	struct pn_dns_answer answer;
	struct pn_resolver *resolver = NULL;
	REQUIRE(pn_resolver_new(&resolver) == PN_OK);
	CHECK(pn_resolver_set(resolver, PN_DNS_TRUSTFILE, "/nonexistent") == PN_OK);
	for (int lookup = 0; lookup < 3; lookup++) {
		CHECK(pn_resolver_lookup(resolver, "a.example", PN_DNS_SRV, &answer) ==
		      PN_ERESOLVER);
		pn_dns_answer_free(&answer);
	}
	pn_resolver_free(resolver);
}

TEST(a_resolver_asks_its_configured_server_and_reports_nothing_as_secure_without_an_anchor) {
	struct pn_dns_answer answer;
	struct pn_resolver *resolver = NULL;
	char forward[64];
	struct pn_buf packet = response(0x8180, "a.example", PN_DNS_SRV);
	put_srv(&packet, 60, "x.example");
	struct server *server = server_new(packet);
	snprintf(forward, sizeof(forward), "127.0.0.1@%u", server->port);
	REQUIRE(pn_resolver_new(&resolver) == PN_OK);
	CHECK(pn_resolver_option(resolver, "do-not-query-localhost:", "no") == PN_OK);
	CHECK(pn_resolver_option(resolver, "qname-minimisation:", "no") == PN_OK);
	CHECK(pn_resolver_set(resolver, PN_DNS_FORWARD, forward) == PN_OK);
	CHECK(pn_resolver_lookup(resolver, "a.example", PN_DNS_SRV, &answer) == PN_OK);
	CHECK(answer.record_count == 1 && !answer.secure && !answer.bogus);
	CHECK(answer.record_count == 1 && is(&answer.records[0].value, "x.example"));
	CHECK((server_free(server) & 1) == 1); /* recursion is wanted of it */
	pn_dns_answer_free(&answer);
	CHECK(pn_resolver_set(resolver, PN_DNS_FORWARD, "127.0.0.1") == PN_EINVAL); /* too late */
	CHECK(pn_resolver_lookup(resolver, "a..example", PN_DNS_SRV, &answer) == PN_EINVAL);
	pn_dns_answer_free(&answer);
	pn_resolver_free(resolver);
}

int main(void) {
	return test_run("dns");
}
