/*
 * Peers that no record lets in, when memory fails, as cert_faults.h has it.
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

int main(void) {
	return run_cert_faults("cert refusals");
}
