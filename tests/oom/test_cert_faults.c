/*
 * Certificates when memory fails: each operation again and again, with the first allocation
 * failing, then the second, and so on until none does; OpenSSL's as well as the core's own; once
 * with that one alone failing and once with all after it. Nothing is leaked, OpenSSL's queue of
 * errors is as it was, and a peer that is to be refused is never accepted.
 *
 * Where the core's own allocations fail, the result is PN_ENOMEM or whole. OpenSSL tells less: it
 * often takes a key or an extension that it had no memory for to be malformed, and says no more.
 * So there a certificate may also count as unreadable, and a good peer be refused.
 */
#include <malloc.h>
#include <stdarg.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "../unit/cert_fixture.h"
#include "alloc.h"

/* ---- The allocator of OpenSSL, as alloc.h describes that of the cores ---- */

static struct test_alloc crypto;

static bool fails(void) {
	const size_t call = ++crypto.calls;
	const bool fail = crypto.fail_at > 0 &&
			  (call == crypto.fail_at || (crypto.fail_after && call > crypto.fail_at));
	crypto.failed = crypto.failed || fail;
	return fail;
}

static void *crypto_malloc(size_t size, const char *file, int line) {
	(void)file;
	(void)line;
	if (size == 0 || fails())
		return NULL;
	crypto.blocks++;
	return malloc(size);
}

static void crypto_free(void *block, const char *file, int line) {
	(void)file;
	(void)line;
	crypto.blocks -= block != NULL ? 1 : 0;
	free(block);
}

static void *crypto_realloc(void *block, size_t size, const char *file, int line) {
	if (size == 0)
		crypto_free(block, file, line);
	if (block == NULL || size == 0)
		return crypto_malloc(size, file, line);
	return fails() ? NULL : realloc(block, size);
}

/* ---- Operations. Each gives what the core returned, and writes down all that it learnt. ---- */

struct notes {
	char text[4096];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void note(struct notes *notes, const char *format,
						       ...) {
	va_list arguments;
	va_start(arguments, format);
	const int len = vsnprintf(notes->text + notes->len, sizeof(notes->text) - notes->len,
				  format, arguments);
	va_end(arguments);
	REQUIRE(len >= 0 && notes->len + (size_t)len < sizeof(notes->text));
	notes->len += (size_t)len;
}

static void note_bytes(struct notes *notes, const void *bytes, size_t len) {
	const unsigned char *at = bytes;
	for (size_t i = 0; i < len; i++)
		note(notes, "%02x", at[i]);
	note(notes, " ");
}

/* What the operations work on; made before anything fails. */
static struct {
	struct pn_str text, authorities;
	struct records records;
	bool is_valid; /* what the verdict must be */
} scene;

static int describe_all(struct notes *notes) {
	struct pn_chain *chain = NULL;
	int err = pn_chain_new(&chain, scene.text);
	for (size_t i = 0; err == PN_OK && i < pn_chain_count(chain); i++) {
		struct pn_cert_info info;
		err = pn_cert_describe(chain, i, &info);
		if (err == PN_OK) {
			note_bytes(notes, info.subject.data, info.subject.len);
			note_bytes(notes, info.issuer.data, info.issuer.len);
			note_bytes(notes, info.serial.data, info.serial.len);
			note_bytes(notes, info.sha256, sizeof(info.sha256));
			note_bytes(notes, info.spki_sha256, sizeof(info.spki_sha256));
			note(notes, "%d %d %lld %lld ", info.has_not_before, info.has_not_after,
			     (long long)info.not_before, (long long)info.not_after);
			note(notes, "%s %d %d %d\n", info.key_type, info.key_bits, info.authority,
			     info.self_issued);
		}
		pn_cert_info_free(&info);
	}
	pn_chain_free(chain);
	return err;
}

static void note_names(struct notes *notes, const struct pn_names *names,
		       const struct pn_reference *reference) {
	note(notes, "%s\n", pn_names_fault(names) != NULL ? pn_names_fault(names) : "no fault");
	for (size_t i = 0; i < pn_names_count(names); i++) {
		const struct pn_name *name = pn_names_at(names, i);
		const char *reason = NULL;
		const bool matches = pn_name_matches(name, reference, &reason);
		note(notes, "%s ", name->kind);
		note_bytes(notes, name->value.bytes, name->value.len);
		note(notes, "%d %s\n", matches, reason);
	}
}

static int read_names(struct notes *notes) {
	struct pn_chain *chain = NULL;
	struct pn_names *names = NULL;
	struct pn_reference *reference = NULL;
	int err = pn_chain_new(&chain, scene.text);
	if (err == PN_OK)
		err = pn_reference_new(&reference, str("a.example"), str("xmpp-server"));
	if (err == PN_OK)
		err = pn_names_new(&names, chain, 0);
	if (err == PN_OK)
		note_names(notes, names, reference);
	pn_names_free(names);
	pn_reference_free(reference);
	pn_chain_free(chain);
	return err;
}

static int make_records(struct notes *notes) {
	struct pn_chain *chain = NULL;
	int err = pn_chain_new(&chain, scene.text);
	for (unsigned i = 0; i < 6 && err == PN_OK; i++) {
		struct pn_buf data = {0};
		err = pn_cert_tlsa(chain, 0, i / 3, i % 3, &data);
		note(notes, "%zu ", data.len);
		pn_buf_free(&data);
	}
	pn_chain_free(chain);
	return err;
}

static int make_request(struct notes *notes) {
	const struct pn_str domains[] = {str("a.example")};
	const char *const services[] = {"xmpp-server", NULL};
	struct pn_buf key = {0};
	struct pn_buf csr = {0};
	const int err =
		pn_cert_request(&(struct pn_request){domains, 1, services, false}, &key, &csr);
	note(notes, "%d %d", key.len > 0, csr.len > 0);
	pn_buf_free(&key);
	pn_buf_free(&csr);
	return err;
}

static int verify(struct notes *notes) {
	struct pn_chain *chain = NULL;
	struct pn_reference *reference = NULL;
	struct pn_verdict verdict = {0};
	int err = pn_chain_new(&chain, scene.text);
	if (err == PN_OK)
		err = pn_reference_new(&reference, str("a.example"), str("xmpp-server"));
	if (err == PN_OK) {
		const struct pn_verify asked = {.chain = chain,
						.records = scene.records.list,
						.record_count = scene.records.count,
						.references = &reference,
						.reference_count = 1,
						.authorities = {.pem = scene.authorities},
						.now = NOW};
		err = pn_cert_verify(&asked, &verdict);
		const bool is_valid = verdict.chain_valid && verdict.identity_valid;
		CHECK(!is_valid || (err == PN_OK && scene.is_valid));
		CHECK(is_valid == (verdict.cause == PN_CAUSE_NONE));
		note(notes, "%d %d %d %zu %zu %d %d %d ", verdict.chain_valid,
		     verdict.identity_valid, verdict.dane, verdict.record, verdict.depth,
		     verdict.cause, verdict.record_matches, verdict.completed);
		note_bytes(notes, verdict.errors.data, verdict.errors.len);
	}
	pn_buf_free(&verdict.errors);
	pn_reference_free(reference);
	pn_chain_free(chain);
	return err;
}

/* ---- Failing ---- */

typedef int operation(struct notes *notes);

static size_t held(void) {
	return crypto.blocks + test_alloc.blocks;
}

/* Which allocations fail. */
struct failing {
	bool own;   /* the core's, not OpenSSL's */
	bool after; /* all behind the first one as well */
};

static int run_failing(operation *run, struct notes *notes, size_t nth, struct failing failing) {
	test_alloc_fail(failing.own ? nth : 0, failing.after);
	crypto.calls = 0;
	crypto.fail_at = failing.own ? 0 : nth;
	crypto.fail_after = failing.after;
	crypto.failed = false;
	const int err = run(notes);
	crypto.failed = crypto.failed || test_alloc.failed;
	crypto.fail_at = 0;
	test_alloc_fail(0, false);
	return err;
}

/* Returns whether it came to an allocation that has failed, and all was well even so. */
static bool fail_one(operation *run, const struct notes *whole, size_t nth,
		     struct failing failing) {
	struct notes notes = {.len = 0};
	const size_t before = held();
	const int err = run_failing(run, &notes, nth, failing);
	const bool is_whole = err == PN_OK && strcmp(notes.text, whole->text) == 0;
	const bool hidden = crypto.failed && !failing.own && (err == PN_OK || err == PN_ECERT);
	const bool good = CHECK(is_whole || hidden || (crypto.failed && err == PN_ENOMEM)) &&
			  CHECK(held() == before) && CHECK(ERR_peek_error() == 0);
	if (!good)
		printf("# allocation %zu%s of %s: %d, %s\n", nth, failing.after ? " and on" : "",
		       failing.own ? "the core" : "OpenSSL", err, notes.text);
	ERR_clear_error();
	return crypto.failed && good && !test_state.failed;
}

static void fail_each(operation *run) {
	struct notes whole = {.len = 0};
	for (int warm = 0; warm < 3; warm++) { /* what OpenSSL keeps for later is there then */
		whole.len = 0;
		REQUIRE(run(&whole) == PN_OK);
	}
	for (int i = 0; i < 4 && !test_state.failed; i++) {
		const struct failing failing = {.own = i / 2 == 1, .after = i % 2 == 1};
		size_t nth = 1;
		while (fail_one(run, &whole, nth, failing))
			nth += failing.after ? 1 + nth / 4 : 1;
		CHECK(nth > 1);
	}
}

/* ---- Scenes ---- */

static struct pn_buf text, authorities;

static void scene_begin(const struct cert *const *chain, const struct cert *trusted,
			bool is_valid) {
	for (; *chain != NULL; chain++)
		pem_add(&text, *chain);
	if (trusted != NULL)
		pem_add(&authorities, trusted);
	scene.text = buf_str(&text);
	scene.authorities = buf_str(&authorities);
	scene.is_valid = is_valid;
}

static void scene_end(void) {
	scene.records.count = 0;
	pn_buf_free(&text);
	pn_buf_free(&authorities);
}
#define SCENE(trusted, is_valid, ...)                                                              \
	scene_begin((const struct cert *const[]){__VA_ARGS__, NULL}, trusted, is_valid)

TEST(a_chain_is_described_or_memory_is_missing) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	SCENE(NULL, false, &h.leaf, &h.root);
	fail_each(describe_all);
	fail_each(make_records);
	scene_end();
	hierarchy_free(h);
}

TEST(names_are_read_or_memory_is_missing) {
	struct pn_buf san = {0};
	san_words(&san, "dns:a.example xmpp:a.example srv:_xmpp-server.a.example");
	san_string(&san, SAN_IP, "\xc0\x00\x02\x01", 4);
	san_other(&san, "\x2a\x03\x04", V_ASN1_INTEGER, "\x01", 1);
	const struct cert cert = cert_make((struct cert_wish){.san = &san});
	pn_buf_free(&san);
	SCENE(NULL, false, &cert);
	fail_each(read_names);
	scene_end();
	cert_free(cert);
}

TEST(a_request_is_made_or_memory_is_missing) {
	fail_each(make_request);
}

TEST(a_good_peer_is_accepted_or_refused) {
	const struct cert root =
		cert_make((struct cert_wish){.subject = "root", .authority = true});
	const struct cert leaf =
		cert_make((struct cert_wish){.issuer = &root, .names = "dns:a.example"});
	for (unsigned usage = 1; usage <= 3; usage++) {
		SCENE(usage == 2 ? NULL : &root, true, &leaf, &root);
		records_add(&scene.records, usage == 2 ? &root : &leaf, usage, 1, usage % 3);
		fail_each(verify);
		scene_end();
	}
	cert_free(leaf);
	cert_free(root);
}

/* Each would be accepted, but for one thing that takes memory to see. */
TEST(a_peer_with_one_thing_wrong_is_never_accepted) {
	const struct cert_wish roots[] = {
		{.subject = "root",
		 .authority = true,
		 .nid = NID_name_constraints,
		 .value = "permitted;DNS:b.example"},
		{.subject = "root", .nid = NID_basic_constraints, .value = "CA:FALSE"},
		{.subject = "root", .authority = true}};
	for (size_t i = 0; i < 3; i++) {
		const struct cert root = cert_make(roots[i]);
		const struct cert leaf =
			cert_make((struct cert_wish){.issuer = &root,
						     .names = "dns:a.example",
						     .nid = NID_ext_key_usage,
						     .value = i < 2 ? NULL : "clientAuth"});
		SCENE(&root, false, &leaf, &root);
		fail_each(verify);
		scene_end();
		cert_free(leaf);
		cert_free(root);
	}
}

/* Below an authority that may not vouch for the one name, of a kind that OpenSSL does not look at,
 * and below one that may. */
TEST(a_name_that_an_authority_forbids_never_counts) {
	for (int allowed = 0; allowed < 2; allowed++) {
		const struct cert root = cert_make((struct cert_wish){
			.subject = "root",
			.authority = true,
			.nid = NID_name_constraints,
			.value = allowed ? "permitted;DNS:a.example" : "permitted;DNS:b.example"});
		const struct cert leaf = cert_make((struct cert_wish){
			.issuer = &root,
			.names = allowed ? "xmpp:a.example" : "srv:_xmpp-server.a.example"});
		SCENE(&root, allowed, &leaf, &root);
		fail_each(verify);
		scene_end();
		cert_free(leaf);
		cert_free(root);
	}
}

/* A record brings the authority that was not sent; with a public authority, and without. */
TEST(a_chain_that_a_record_completes_is_good_or_refused) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.names = "xmpp:a.example"});
	for (int i = 0; i < 2; i++) {
		SCENE(i == 0 ? &h.root : NULL, i == 0, &h.leaf);
		records_add(&scene.records, &h.intermediate, 0, 0, 0);
		fail_each(verify);
		scene_end();
	}
	hierarchy_free(h);
}

/* The chain is good, but no record lets it in; each kind of them is read in another way. */
TEST(a_peer_whose_records_do_not_match_is_never_accepted) {
	const struct cert root =
		cert_make((struct cert_wish){.subject = "root", .authority = true});
	const struct cert leaf =
		cert_make((struct cert_wish){.issuer = &root, .names = "dns:a.example"});
	const struct cert other = cert_make((struct cert_wish){.subject = "other"});
	for (unsigned kind = 0; kind < 5; kind++) {
		SCENE(&root, false, &leaf, &root);
		records_add(&scene.records, &other, kind < 3 ? 3 : 2, kind % 2,
			    kind % 3 < 2 ? 0 : 1);
		fail_each(verify);
		scene_end();
	}
	cert_free(other);
	cert_free(leaf);
	cert_free(root);
}

/* ---- Much and long ---- */

TEST(thousands_of_verifications_take_no_more_memory) {
	enum { WARM = 1000, ROUNDS = 2000 }; /* until malloc has at hand what it keeps */
	const struct hierarchy h = hierarchy_make((struct cert_wish){.names = "xmpp:a.example"});
	SCENE(&h.root, true, &h.leaf, &h.intermediate, &h.root);
	for (unsigned usage = 0; usage < 4; usage++)
		records_add(&scene.records, usage % 2 == 1 ? &h.intermediate : &h.root, usage, 0,
			    0);
	size_t blocks = 0;
	size_t bytes = 0;
	for (int round = 0; round < WARM + ROUNDS; round++) {
		struct notes notes = {0};
		if (round == WARM) {
			blocks = held();
			bytes = mallinfo2().uordblks;
		}
		CHECK(verify(&notes) == PN_OK);
	}
	CHECK(held() == blocks);
	/* Not a block each, which takes 32 bytes at least; what malloc keeps at hand counts as well
	 */
	CHECK(mallinfo2().uordblks < bytes + (size_t)ROUNDS * 16);
	scene_end();
	hierarchy_free(h);
}

/* OpenSSL keeps the memory of an error's text for the next error in the same place of its queue. */
static void fill_queue(void) {
	for (int i = 0; i < ERR_NUM_ERRORS; i++)
		ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR, "text %d", i);
	ERR_clear_error();
}

int main(void) {
	REQUIRE(CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) == 1);
	fill_queue();
	return test_run("cert faults");
}
