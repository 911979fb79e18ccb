#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "account.h"

int pn_smq_account_new(struct pn_smq_account **out, struct pn_smq_pool *pool, const char *name) {
	const size_t size = strlen(name) + 1;
	struct pn_smq_account *account = pn_malloc(sizeof(*account) + size);
	if (account == NULL)
		return PN_ENOMEM;
	*account = (struct pn_smq_account){.pool = pool, .next = pool->first};
	memcpy(account->name, name, size);
	if (account->next != NULL)
		account->next->prev = account;
	pool->first = account;
	*out = account;
	return PN_OK;
}

void pn_smq_account_free(struct pn_smq_account *account) {
	if (account == NULL)
		return;
	if (account->next != NULL)
		account->next->prev = account->prev;
	if (account->prev != NULL)
		account->prev->next = account->next;
	else
		account->pool->first = account->next;
	pn_free(account);
}

const char *pn_smq_account_name(const struct pn_smq_account *account) {
	return account->name;
}

size_t pn_smq_account_bytes(const struct pn_smq_account *account) {
	return account->bytes;
}

size_t pn_smq_account_queues(const struct pn_smq_account *account) {
	return account->queues;
}

struct pn_smq_account *pn_smq_largest(const struct pn_smq_pool *pool) {
	struct pn_smq_account *largest = NULL;
	size_t bytes = 0;
	for (struct pn_smq_account *it = pool->first; it != NULL; it = it->next) {
		if (it->bytes > bytes) {
			largest = it;
			bytes = it->bytes;
		}
	}
	return largest;
}
