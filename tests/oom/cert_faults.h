/*
 * Certificates when memory fails: each operation again and again, with the first allocation
 * failing, then the second, and so on until none does; OpenSSL's as well as the core's own; once
 * with that one alone failing and once with all after it. Nothing is leaked, OpenSSL's queue of
 * errors is as it was, and a peer that is to be refused is never accepted.
 *
 * Where the core's own allocations fail, the result is PN_ENOMEM or whole. OpenSSL tells less: it
 * often takes a key or an extension that it had no memory for to be malformed, and says no more.
 * So there a certificate may also count as unreadable, and a good peer be refused.
 *
 * It takes a while: without SOAK in the environment, of OpenSSL's allocations a sample fails, which
 * SEED chooses.
 */
#ifndef CERT_FAULTS_H
#define CERT_FAULTS_H

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

/* ---- Operations. Each returns the core's result, and writes down all outputs. ---- */

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

/* The input of the operations; created before anything fails. */
static struct {
	struct pn_str text, authorities;
	struct records records;
	bool is_valid; /* the expected verdict */
} scene;

static int verify_chain(struct notes *notes, const struct pn_chain *chain) {
	struct pn_reference *reference = NULL;
	struct pn_verdict verdict = {0};
	int err = pn_reference_new(&reference, str("a.example"), str("xmpp-server"));
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
	return err;
}

static int verify(struct notes *notes) {
	struct pn_chain *chain = NULL;
	int err = pn_chain_new(&chain, scene.text);
	if (err == PN_OK)
		err = verify_chain(notes, chain);
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
	const bool hidden = crypto.failed && !failing.own &&
			    (err == PN_OK || err == PN_ECERT || err == PN_EKEY);
	const bool good = CHECK(is_whole || hidden || (crypto.failed && err == PN_ENOMEM)) &&
			  CHECK(held() == before) && CHECK(ERR_peek_error() == 0);
	if (!good)
		printf("# allocation %zu%s of %s: %d, %s\n", nth, failing.after ? " and on" : "",
		       failing.own ? "the core" : "OpenSSL", err, notes.text);
	ERR_clear_error();
	return crypto.failed && good && !test_state.failed;
}

enum { SAMPLED = 8 }; /* of so many allocations of OpenSSL, one fails where it is a sample */

static void fail_each(operation *run) {
	struct notes whole = {.len = 0};
	for (int warm = 0; warm < 3; warm++) { /* until OpenSSL has filled its caches */
		whole.len = 0;
		REQUIRE(run(&whole) == PN_OK);
	}
	for (int i = 0; i < 4 && !test_state.failed; i++) {
		const struct failing failing = {.own = i / 2 == 1, .after = i % 2 == 1};
		const size_t step = failing.own ? 1 : (size_t)test_tries(SAMPLED, 1);
		const size_t first = 1 + test_seed() % step;
		size_t nth = first;
		while (fail_one(run, &whole, nth, failing))
			nth += failing.after ? 1 + nth / 4 : step;
		CHECK(nth > first);
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

/* OpenSSL keeps the memory of an error's text for the next error in the same place of its queue. */
static void fill_queue(void) {
	for (int i = 0; i < ERR_NUM_ERRORS; i++)
		ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR, "text %d", i);
	ERR_clear_error();
}

static int run_cert_faults(const char *suite) {
	REQUIRE(CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) == 1);
	fill_queue();
	return test_run(suite);
}

#endif
