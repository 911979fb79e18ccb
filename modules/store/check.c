/* Checks every record against the records that depend on it: the walk, and the collections. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <pn/alloc.h>
#include <pn/archive.h>
#include <pn/collection.h>
#include <pn/err.h>

enum {
	STEP_RECORDS = 1000, /* in a step: some 10 ms, so that progress can be shown */
	TEXT = 240,          /* bytes of a sentence: above the longest, whose values are numbers */
};

struct pn_check {
	struct pn_txn txn; /* a snapshot, for all steps */
	struct pn_cursor cursor;
	struct pn_progress progress;
	struct pn_archive_check archives;
	bool begun;
	uint64_t collections; /* the numbers of records c, d and u must be equal */
	uint64_t directory;
	uint64_t users;
	struct pn_buf hosts; /* array of struct host */
	uint64_t counts;     /* records b of hosts */
};

/* The bytes of the collections that were counted. */
struct host {
	pn_digest digest;
	uint64_t bytes;
};

__attribute__((format(printf, 2, 3))) static void report(struct pn_check *check, const char *format,
							 ...) {
	char text[TEXT];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	check->archives.problem(check->archives.context, text);
}

/* ---- The bytes of hosts ---- */

static struct host *find_host(struct pn_check *check, const pn_digest digest) {
	struct host *const hosts = (struct host *)(void *)check->hosts.data;
	for (size_t i = 0; i < check->hosts.len / sizeof(struct host); i++) {
		if (memcmp(hosts[i].digest, digest, PN_DIGEST) == 0)
			return &hosts[i];
	}
	return NULL;
}

/* Adds the bytes of a collection to those of its host. */
static void add_bytes(struct pn_check *check, uint32_t collection, const struct pn_owner *owner) {
	struct host host = {0};
	if (collection > pn_host_counted(&check->txn))
		return;
	const struct pn_size size = pn_collection_size(&check->txn, collection, owner->type);
	if (pn_txn_take(&check->txn) != PN_OK)
		return; /* it is reported as the record of an archive */
	pn_name_digest(&check->txn, owner->host, host.digest);
	struct host *const found = find_host(check, host.digest);
	if (found != NULL) {
		found->bytes += size.bytes;
		return;
	}
	host.bytes = size.bytes;
	pn_buf_append(&check->hosts, &host, sizeof(host));
	pn_txn_fail(&check->txn, check->hosts.err);
}

/* Compares the records b with the bytes of the collections. */
static void check_hosts(struct pn_check *check) {
	const struct host *const hosts = (const struct host *)(void *)check->hosts.data;
	const size_t count = check->hosts.len / sizeof(struct host);
	if (pn_host_counted(&check->txn) == 0)
		return; /* they are counted anew */
	for (size_t i = 0; i < count; i++) {
		const uint64_t bytes = pn_host_bytes(&check->txn, hosts[i].digest);
		if (bytes != hosts[i].bytes)
			report(check, "a host has %llu bytes, but %llu are counted",
			       (unsigned long long)hosts[i].bytes, (unsigned long long)bytes);
	}
	if (count < check->counts)
		report(check, "the bytes of %llu hosts are counted, but only %llu have collections",
		       (unsigned long long)check->counts, (unsigned long long)count);
}

/* ---- Collections ---- */

/* Whether the collection was removed: its records are not checked. */
static bool is_removed(struct pn_check *check, uint32_t collection) {
	const struct pn_key key = pn_key_collection(PN_KIND_TRASH, collection);
	struct pn_wire value;
	return pn_get(&check->txn, &key, &value);
}

/* Whether the record at the cursor belongs to a collection of the type. If not, reports it, unless
 * the collection was removed. */
static bool belongs(struct pn_check *check, uint32_t collection, enum pn_type type) {
	const struct pn_str key = check->cursor.key;
	const char kind = key.bytes[key.bytes[0] == PN_KIND_RECORD ? 5 : 0];
	struct pn_owner owner;
	if (is_removed(check, collection))
		return false;
	if (pn_collection_owner(&check->txn, collection, &owner)) {
		if (owner.type != type)
			report(check,
			       "a record of kind %c belongs to collection %u of another type", kind,
			       collection);
		return owner.type == type;
	}
	if (check->txn.err == PN_ECORRUPT) {
		pn_txn_take(&check->txn);
		report(check, "a record of kind %c belongs to collection %u, which does not exist",
		       kind, collection);
	}
	return false;
}

static void check_collection(struct pn_check *check, uint32_t collection) {
	struct pn_owner owner;
	struct pn_store store;
	check->collections++;
	if (!pn_owner_read(&check->txn, check->cursor.value, &owner)) {
		pn_txn_take(&check->txn);
		report(check, "cannot read the names of collection %u", collection);
		return;
	}
	pn_txn_fail(&check->txn,
		    pn_store_init(&store, check->txn.db, owner.type, owner.host, owner.store));
	if (pn_collection_find(&check->txn, &store, owner.user) != collection)
		report(check, "collection %u is not in the directory", collection);
	add_bytes(check, collection, &owner);
}

/* ---- The walk ---- */

static void check_owned_record(struct pn_check *check) {
	uint32_t collection;
	enum pn_kind kind;
	if (!pn_key_read_record(check->cursor.key, &collection, &kind)) {
		report(check, "a record belongs to no collection");
		return;
	}
	const bool keyval = kind == PN_KIND_VALUE;
	if (!belongs(check, collection, keyval ? PN_TYPE_KEYVAL : PN_TYPE_ARCHIVE) || keyval)
		return;
	pn_archive_check_record(&check->archives, collection, kind, &check->cursor);
}

static void check_record(struct pn_check *check) {
	const struct pn_str key = check->cursor.key;
	uint32_t collection;
	switch (key.bytes[0]) {
	case PN_KIND_FORMAT:
	case PN_KIND_POSITION:
	case PN_KIND_STORES:
	case PN_KIND_TRASH:
		return;
	case PN_KIND_HOST:
		check->counts += key.len > 1;
		return;
	case PN_KIND_DIRECTORY:
		check->directory++;
		return;
	case PN_KIND_USER:
		check->users++;
		return;
	case PN_KIND_COLLECTION:
		if (pn_key_read_collection(key, PN_KIND_COLLECTION, &collection)) {
			check_collection(check, collection);
			return;
		}
		break;
	case PN_KIND_MARKS:
		if (pn_key_read_collection(key, PN_KIND_MARKS, &collection)) {
			if (belongs(check, collection, PN_TYPE_ARCHIVE))
				pn_archive_check_marks(&check->archives, collection);
			return;
		}
		break;
	case PN_KIND_RECORD:
		check_owned_record(check);
		return;
	default:
		break;
	}
	report(check, "a record has a key of an unknown kind");
}

static void finish(struct pn_check *check) {
	if (check->collections != check->directory || check->collections != check->users)
		report(check, "there are %llu collections, %llu by store, and %llu by user",
		       (unsigned long long)check->collections, (unsigned long long)check->directory,
		       (unsigned long long)check->users);
	check_hosts(check);
	pn_archive_check_passed(&check->archives, NULL);
}

/* Checks the next record. Returns false at the end. */
static bool step(struct pn_check *check) {
	const bool any =
		check->begun ? pn_cursor_next(&check->cursor) : pn_cursor_first(&check->cursor);
	check->begun = true;
	if (!any) {
		if (check->txn.err == PN_OK)
			finish(check);
		return false;
	}
	if (check->cursor.value.err != PN_OK) {
		report(check, "cannot read the value of a record of kind %c",
		       check->cursor.key.bytes[0]);
		return true;
	}
	pn_archive_check_passed(&check->archives, &check->cursor);
	check_record(check);
	check->progress.done++;
	return true;
}

int pn_check_step(struct pn_check *check, struct pn_progress *progress) {
	bool more = true;
	for (int i = 0; i < STEP_RECORDS && more; i++)
		more = step(check);
	*progress = check->progress;
	return check->txn.err != PN_OK ? check->txn.err : more;
}

int pn_check_new(struct pn_check **out, struct pn_db *db,
		 void (*problem)(void *context, const char *text), void *context) {
	static const struct pn_key all = {.len = 0};
	struct pn_check *check = pn_malloc(sizeof(*check));
	if (check == NULL)
		return PN_ENOMEM;
	*check = (struct pn_check){
		.archives = {.txn = &check->txn, .problem = problem, .context = context},
	};
	pn_txn_snapshot(db, &check->txn);
	check->progress.total = pn_txn_entries(&check->txn);
	pn_cursor_open(&check->txn, &check->cursor, &all);
	const int err = check->txn.err;
	if (err != PN_OK) {
		pn_check_free(check);
		return err;
	}
	*out = check;
	return PN_OK;
}

void pn_check_free(struct pn_check *check) {
	if (check == NULL)
		return;
	pn_buf_free(&check->hosts);
	pn_cursor_close(&check->cursor);
	pn_txn_close(&check->txn);
	pn_free(check);
}
