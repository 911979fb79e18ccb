/*
 * Peers that no record lets in, names that no authority may vouch for, and chains that a record
 * completes, when memory fails, as cert_faults.h has it.
 */
#include "cert_faults.h"

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

int main(void) {
	return run_cert_faults("cert refusals");
}
