/*
 * The power is cut at any write, from the first one that creates a store. The next start opens it;
 * it then has one of the committed states, as a whole, and not an older one than the last one that
 * was reported durable.
 */
#include <poll.h>

#include "../unit/crash.h"
#include "disk.h"

#define STORIES (unsigned)test_tries(3, 40)

enum {
	TURNS = 14,
	CUTS = 250, /* of each story, beside those while the store is created */
	STATES = TURNS * 2 + 4,
	TIMES_OPENING =
		3, /* each cut while the store is created, with this number of random results */
	TIMES_SWITCHING = 10, /* the same for each cut in a switch */
	WAIT = 10000,         /* ms after which a test is stuck */
};

/* The written states, and the times at which they were reported durable. */
struct story {
	unsigned seed;
	struct fixture f;
	char parent[PATH_SIZE];
	struct tape tape;
	size_t opened;         /* operations that created the store */
	uint64_t sums[STATES]; /* contents after each turn */
	size_t begun[STATES];  /* operations before that turn's commit */
	int states;
	struct {
		size_t at;
		int state;
	} promises[STATES];
	int promise_count;
	bool compacts; /* between the turns */
	struct pn_compaction *compaction;
	size_t switch_begun, switched; /* operations before the last switch, and after it */
};

static struct story story;

/* ---- Recording a story ---- */

static void promise(int state) {
	story.promises[story.promise_count].at = story.tape.count;
	story.promises[story.promise_count].state = state;
	story.promise_count++;
}

static void write_turn(void) {
	story.begun[story.states] = story.tape.count;
	turn(&story.f, story.states);
	story.sums[story.states] = contents(&story.f);
	story.states++;
}

/* Another turn is written and committed while the disk is busy with the one before. */
static void sync_in_background(uint64_t now) {
	int wait;
	const int state = story.states - 1;
	struct pollfd fd = {.fd = pn_db_event_fd(story.f.db), .events = POLLIN};
	const uint64_t transaction = pn_db_committed(story.f.db);
	disk_gate(true);
	CHECK(pn_db_sync(story.f.db, now, &wait) == PN_OK);
	write_turn();
	disk_gate(false);
	while (pn_db_durable(story.f.db) < transaction) { /* or the data file was synced */
		REQUIRE(poll(&fd, 1, WAIT) == 1);
		pn_db_event_clear(story.f.db);
	}
	promise(state);
}

static void end_compaction(void) {
	pn_compact_free(story.compaction);
	story.compaction = NULL;
}

/* A step of a compaction, or its switch, after which everything is durable. */
static void compact_on(void) {
	struct pn_progress progress;
	int more = 1;
	if (story.compaction == NULL)
		REQUIRE(pn_compact_new(&story.compaction, story.f.db, false, NULL) == PN_OK);
	else
		more = pn_compact_step(story.compaction, &progress);
	CHECK(more >= 0);
	if (more != 0)
		return;
	story.switch_begun = story.tape.count;
	CHECK(pn_compact_switch(story.compaction) == PN_OK);
	story.switched = story.tape.count;
	promise(story.states - 1);
	end_compaction();
}

static void go_on_somehow(uint64_t now) {
	switch (random() % 5) {
	case 0:
		CHECK(pn_db_flush(story.f.db) == PN_OK);
		promise(story.states - 1);
		break;
	case 1:
		end_compaction();
		reopen(&story.f);
		promise(story.states - 1);
		break;
	case 2:
		sync_in_background(now);
		break;
	default:
		break; /* committed data wait */
	}
}

static void fixture_at(struct fixture *f, const char *parent, unsigned interval) {
	*f = (struct fixture){.options = {.interval = interval, .verify = true}};
	snprintf(f->directory, sizeof(f->directory), "%.200s/native", parent);
	f->options.directory = f->directory;
}

/* With an interval of 0 every commit is durable. */
static void tell(unsigned seed, bool compacts) {
	const unsigned interval = seed % 3 == 0 ? 0 : 1;
	memset(&story, 0, sizeof(story));
	story.seed = seed;
	story.compacts = compacts;
	srandom(seed);
	directory_make(story.parent);
	fixture_at(&story.f, story.parent, interval);
	disk_boot();
	disk_record(&story.tape, story.f.directory);
	open_db(&story.f);
	story.opened = story.tape.count;
	story.sums[0] = contents(&story.f);
	story.states = 1;
	promise(0);
	for (int i = 0; i < TURNS; i++) {
		write_turn();
		if (interval == 0)
			promise(story.states - 1);
		go_on_somehow((uint64_t)i * 1000);
		if (compacts)
			compact_on();
	}
	end_compaction();
	disk_stop();
}

static void forget_story(void) {
	teardown(&story.f);
	REQUIRE(rmdir(story.parent) == 0);
	tape_free(&story.tape);
}

/* ---- After the power is back ---- */

static void ignore_problem(void *context, const char *text) {
	(void)text;
	*(unsigned *)context += 1;
}

static bool is_whole(struct pn_db *db) {
	struct pn_check *check;
	struct pn_progress progress;
	unsigned count = 0;
	if (pn_check_new(&check, db, ignore_problem, &count) != PN_OK)
		return false;
	int more;
	do
		more = pn_check_step(check, &progress);
	while (more > 0);
	pn_check_free(check);
	return more == 0 && count == 0;
}

static int promised(size_t at) {
	int state = -1;
	for (int i = 0; i < story.promise_count && story.promises[i].at <= at; i++)
		state = story.promises[i].state > state ? story.promises[i].state : state;
	return state;
}

/* The newest state that has these contents and whose commit had begun, or -1. */
static int find_state(uint64_t sum, size_t at) {
	int state = story.states - 1;
	while (state >= 0 && (story.sums[state] != sum || story.begun[state] > at))
		state--;
	return state;
}

/* Opens the remaining store. Returns NULL, or a text and closes it. Sets *sum. */
static const char *open_remains(struct fixture *f, uint64_t *sum) {
	disk_boot();
	if (try_open(f) != PN_OK)
		return "it is refused";
	databases_open++;
	const char *wrong = pn_db_rejected(f->db) ? "its log is set aside"
			    : !is_whole(f->db)    ? "something is half there"
						  : NULL;
	if (wrong == NULL)
		*sum = contents(f);
	else
		close_db(f);
	return wrong;
}

/* The recovered store can be written to, closed and opened. */
static const char *use(struct fixture *f) {
	uint64_t again;
	turns(f, STATES, STATES + 2);
	const uint64_t sum = contents(f);
	close_db(f);
	const char *wrong = open_remains(f, &again);
	if (wrong == NULL && again != sum) {
		close_db(f);
		wrong = "what was written after it is lost";
	}
	return wrong;
}

/* The power fails again while the store is being opened, and in the first turn after. */
static const char *cut_again(struct cut cut, struct fixture *f) {
	static struct tape second;
	struct fixture site;
	char parent[PATH_SIZE];
	uint64_t sum = 0, again = 0;
	disk_record(&second, f->directory);
	const char *wrong = open_remains(f, &sum);
	const size_t opened = second.count;
	if (wrong == NULL)
		turn(f, STATES + 5);
	const uint64_t later = wrong == NULL ? contents(f) : 0;
	disk_stop();
	for (unsigned i = 0; wrong == NULL && i < 6; i++) {
		const struct cut at = {.at = i < 4 ? (size_t)random() % (opened + 1)
						   : (size_t)random() % (second.count + 1),
				       .seed = cut.seed + i};
		directory_make(parent);
		fixture_at(&site, parent, 60000);
		disk_cut(&second, at, site.directory);
		wrong = open_remains(&site, &again);
		if (wrong == NULL)
			close_db(&site);
		if (wrong == NULL && again != sum && (at.at < opened || again != later))
			wrong = "a second power failure changes what was recovered";
		directory_remove(site.directory);
		REQUIRE(rmdir(parent) == 0);
	}
	if (databases_open > 1)
		close_db(f);
	tape_free(&second);
	return wrong;
}

/* Returns NULL, or a text for an error in the store that the cut leaves. */
static const char *judge(struct cut cut, struct fixture *f) {
	uint64_t sum;
	if (cut.seed % 8 == 1 && !cut.no_syncs && !cut.no_name_syncs)
		return cut_again(cut, f);
	const char *wrong = open_remains(f, &sum);
	if (wrong != NULL)
		return wrong;
	const int state = find_state(sum, cut.at);
	if (state < 0)
		wrong = "it holds what was never committed";
	else if (state < promised(cut.at))
		wrong = "what was reported durable is lost";
	else if (cut.seed % 4 == 0)
		wrong = use(f);
	if (databases_open > 1)
		close_db(f);
	return wrong;
}

static const char *try_cut(struct cut cut) {
	struct fixture f;
	char parent[PATH_SIZE];
	directory_make(parent);
	fixture_at(&f, parent, 60000);
	disk_cut(&story.tape, cut, f.directory);
	const char *wrong = judge(cut, &f);
	directory_remove(f.directory);
	REQUIRE(rmdir(parent) == 0);
	return wrong;
}

static void check_cut(struct cut cut) {
	const char *wrong = try_cut(cut);
	if (!CHECK(wrong == NULL))
		printf("# story %u, power cut at operation %zu of %zu, remains %u: %s\n",
		       story.seed, cut.at, story.tape.count, cut.seed, wrong);
}

/* ---- Tests ---- */

TEST(whenever_the_power_fails_while_a_store_is_created_the_next_start_creates_or_opens_it) {
	for (unsigned n = 0; n < 2; n++) {
		const unsigned seed = test_seed() + n;
		tell(seed, false);
		for (unsigned i = 0; i <= story.opened * TIMES_OPENING; i++)
			check_cut((struct cut){.at = i / TIMES_OPENING, .seed = seed * 1000 + i});
		forget_story();
	}
}

TEST(whenever_the_power_fails_the_store_is_whole_and_has_all_durable_data) {
	for (unsigned n = 0; n < STORIES; n++) {
		const unsigned seed = test_seed() + n;
		tell(seed, false);
		for (unsigned i = 0; i < CUTS; i++)
			check_cut((struct cut){.at = (size_t)random() % (story.tape.count + 1),
					       .seed = seed * 1000 + i});
		forget_story();
	}
}

TEST(whenever_the_power_fails_in_a_compaction_the_store_is_whole_and_has_all_durable_data) {
	for (unsigned n = 0; n < STORIES; n++) {
		const unsigned seed = test_seed() + n;
		tell(seed, true);
		for (unsigned i = 0; i < CUTS; i++)
			check_cut((struct cut){.at = (size_t)random() % (story.tape.count + 1),
					       .seed = seed * 1000 + i});
		const size_t span = story.switched - story.switch_begun;
		for (unsigned i = 0; i < span * TIMES_SWITCHING; i++)
			check_cut((struct cut){.at = story.switch_begun + i % (span + 1),
					       .seed = seed * 2000 + i});
		forget_story();
	}
}

/* ---- Negative controls: these show that the tests above detect losses ---- */

static int count_wrong(struct cut cut, size_t most) {
	int count = 0;
	for (unsigned i = 0; i < CUTS; i++) {
		cut.at = (size_t)random() % (most + 1);
		cut.seed = i;
		count += try_cut(cut) != NULL;
	}
	return count;
}

TEST(on_a_disk_that_ignores_syncs_of_files_stores_are_lost) {
	tell(1, false);
	CHECK(count_wrong((struct cut){.no_syncs = true}, story.tape.count) > CUTS / 10);
	forget_story();
}

TEST(on_a_disk_that_ignores_syncs_of_directories_stores_are_lost) {
	tell(1, false);
	CHECK(count_wrong((struct cut){.no_name_syncs = true}, story.tape.count) > CUTS / 10);
	forget_story();
}

/* The disk is simulated, so a file system in memory is used if there is one. */
int main(void) {
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	return test_run("power cuts");
}
