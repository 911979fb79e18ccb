/*
 * Certificates, requests and good peers when memory fails, as cert_faults.h has it.
 */
#include <malloc.h>

#include "cert_faults.h"

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
	const int err = pn_cert_request(
		&(struct pn_request){.domains = domains, .count = 1, .services = services}, &key,
		&csr);
	note(notes, "%d %d", key.len > 0, csr.len > 0);
	pn_buf_free(&key);
	pn_buf_free(&csr);
	return err;
}

static struct pn_buf made_key; /* of the request that is asked for a key */

static int read_key(struct notes *notes) {
	struct pn_buf spki = {0};
	struct pn_chain *chain = NULL;
	bool fits = false;
	int err = pn_public_key(buf_str(&made_key), (struct pn_str){NULL, 0}, &spki);
	if (err == PN_OK)
		err = pn_chain_new(&chain, scene.text);
	if (err == PN_OK)
		err = pn_key_fits(chain, buf_str(&made_key), (struct pn_str){NULL, 0}, &fits);
	note_bytes(notes, spki.data, spki.len);
	note(notes, "%d", fits);
	pn_chain_free(chain);
	pn_buf_free(&spki);
	return err;
}

static int request_again(struct notes *notes) {
	const struct pn_str domains[] = {str("a.example")};
	const char *const services[] = {NULL};
	const struct pn_request request = {
		.domains = domains, .count = 1, .services = services, .key = buf_str(&made_key)};
	struct pn_buf key = {0};
	struct pn_buf csr = {0};
	const int err = pn_cert_request(&request, &key, &csr);
	note(notes, "%zu %d", key.len, csr.len > 0);
	pn_buf_free(&key);
	pn_buf_free(&csr);
	return err;
}

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

TEST(a_request_is_created_or_memory_is_missing) {
	fail_each(make_request);
}

TEST(a_key_is_read_or_memory_is_missing) {
	const struct cert leaf = cert_make((struct cert_wish){0});
	const struct pn_str domains[] = {str("a.example")};
	const char *const services[] = {NULL};
	struct pn_buf csr = {0};
	const struct pn_request request = {.domains = domains, .count = 1, .services = services};
	REQUIRE(pn_cert_request(&request, &made_key, &csr) == PN_OK);
	SCENE(NULL, false, &leaf);
	fail_each(read_key);
	fail_each(request_again);
	scene_end();
	pn_buf_free(&csr);
	pn_buf_free(&made_key);
	cert_free(leaf);
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

/* A chain caches decoded certificates, also if memory was missing. */
static int verify_twice(struct notes *notes) {
	struct pn_chain *chain = NULL;
	int err = pn_chain_new(&chain, scene.text);
	const int first = err == PN_OK ? verify_chain(notes, chain) : err;
	if (err == PN_OK)
		err = verify_chain(notes, chain);
	pn_chain_free(chain);
	return first != PN_OK ? first : err;
}

TEST(a_chain_can_be_verified_again_after_a_failure) {
	for (int i = 0; i < 2; i++) {
		const struct cert root = cert_make((struct cert_wish){
			.subject = "root",
			.authority = true,
			.nid = NID_name_constraints,
			.value = i == 0 ? "permitted;DNS:b.example" : "permitted;DNS:a.example"});
		const struct cert leaf =
			cert_make((struct cert_wish){.issuer = &root, .names = "dns:a.example"});
		SCENE(&root, i == 1, &leaf, &root);
		fail_each(verify_twice);
		scene_end();
		cert_free(leaf);
		cert_free(root);
	}
}

/* ---- Much and long ---- */

static struct pn_chain *kept; /* for all rounds */

static int verify_kept(struct notes *notes) {
	return verify_chain(notes, kept);
}

static void check_memory(operation *run) {
	enum { WARM = 1000, ROUNDS = 2000 }; /* until malloc has filled its caches */
	size_t blocks = 0;
	size_t bytes = 0;
	for (int round = 0; round < WARM + ROUNDS; round++) {
		struct notes notes = {0};
		if (round == WARM) {
			blocks = held();
			bytes = mallinfo2().uordblks;
		}
		CHECK(run(&notes) == PN_OK);
	}
	CHECK(held() == blocks);
	/* Not a block each, which takes 32 bytes at least; malloc's caches count as well
	 */
	CHECK(mallinfo2().uordblks < bytes + (size_t)ROUNDS * 16);
}

TEST(thousands_of_verifications_take_no_more_memory) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.names = "xmpp:a.example"});
	SCENE(&h.root, true, &h.leaf, &h.intermediate, &h.root);
	for (unsigned usage = 0; usage < 4; usage++)
		records_add(&scene.records, usage % 2 == 1 ? &h.intermediate : &h.root, usage, 0,
			    0);
	check_memory(verify);
	REQUIRE(pn_chain_new(&kept, scene.text) == PN_OK);
	check_memory(verify_kept);
	pn_chain_free(kept);
	scene_end();
	hierarchy_free(h);
}

int main(void) {
	return run_cert_faults("cert faults");
}
