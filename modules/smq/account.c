/*
 * The accounts of a pool, as a heap with the largest on top. A server at its limit needs the
 * largest account for every stanza: a search through all accounts would take longer than the
 * stanza.
 */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "account.h"

enum { FIRST_ROOM = 16 }; /* accounts; doubles when it is full */

static void put(struct pn_smq_account *account, size_t place) {
	account->pool->heap[place] = account;
	account->place = place;
}

/* Moves the account up while it holds more than the one above it. */
static void rise(struct pn_smq_account *account) {
	struct pn_smq_account *const *heap = account->pool->heap;
	size_t place = account->place;
	while (place > 0 && heap[(place - 1) / 2]->bytes < account->bytes) {
		const size_t above = (place - 1) / 2;
		put(heap[above], place);
		place = above;
	}
	put(account, place);
}

/* The place of the larger of the two accounts below; the number of accounts if there is none. */
static size_t larger_below(const struct pn_smq_pool *pool, size_t place) {
	const size_t left = 2 * place + 1;
	const size_t right = left + 1;
	if (left >= pool->accounts)
		return pool->accounts;
	return right < pool->accounts && pool->heap[right]->bytes > pool->heap[left]->bytes ? right
											    : left;
}

/* Moves the account down while one below it holds more. */
static void sink(struct pn_smq_account *account) {
	const struct pn_smq_pool *pool = account->pool;
	size_t place = account->place;
	for (;;) {
		const size_t below = larger_below(pool, place);
		if (below == pool->accounts || pool->heap[below]->bytes <= account->bytes)
			break;
		put(pool->heap[below], place);
		place = below;
	}
	put(account, place);
}

/* Makes room for one more account. */
static int make_room(struct pn_smq_pool *pool) {
	if (pool->accounts < pool->room)
		return PN_OK;
	const size_t room = pool->room > 0 ? pool->room * 2 : FIRST_ROOM;
	struct pn_smq_account **heap =
		pn_realloc(pool->heap, room * sizeof(struct pn_smq_account *));
	if (heap == NULL)
		return PN_ENOMEM;
	pool->heap = heap;
	pool->room = room;
	return PN_OK;
}

int pn_smq_account_new(struct pn_smq_account **out, struct pn_smq_pool *pool, const char *name) {
	const size_t size = strlen(name) + 1;
	struct pn_smq_account *account = pn_malloc(sizeof(*account) + size);
	if (account == NULL)
		return PN_ENOMEM;
	if (make_room(pool) != PN_OK) {
		pn_free(account);
		return PN_ENOMEM;
	}
	*account = (struct pn_smq_account){.pool = pool};
	memcpy(account->name, name, size);
	put(account, pool->accounts++);
	*out = account;
	return PN_OK;
}

/* Frees an empty account. Those below it are empty too, so the last one can only rise there. */
static void end(struct pn_smq_account *account) {
	struct pn_smq_pool *pool = account->pool;
	struct pn_smq_account *last = pool->heap[--pool->accounts];
	if (last != account) {
		put(last, account->place);
		rise(last);
	}
	if (pool->accounts == 0) {
		pn_free(pool->heap);
		pool->heap = NULL;
		pool->room = 0;
	}
	pn_free(account);
}

void pn_smq_account_free(struct pn_smq_account *account) {
	if (account == NULL)
		return;
	account->given_up = true;
	if (account->queues == 0)
		end(account);
}

void account_leave(struct pn_smq_account *account) {
	account->queues--;
	if (account->queues == 0 && account->given_up)
		end(account);
}

void account_add(struct pn_smq_account *account, size_t bytes) {
	account->pool->items++;
	account->pool->bytes += bytes;
	account->bytes += bytes;
	rise(account);
}

void account_subtract(struct pn_smq_account *account, size_t bytes) {
	account->pool->items--;
	account->pool->bytes -= bytes;
	account->bytes -= bytes;
	sink(account);
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
	return pool->accounts > 0 && pool->heap[0]->bytes > 0 ? pool->heap[0] : NULL;
}
