/*
 * A test runner. Each test is one sentence: a fixture and one behaviour of it.
 *
 *	TEST(an_empty_buffer_is_all_zero) { ... CHECK(buf.len == 0); ... }
 *	int main(void) { return test_run("base"); }
 *
 * One line is printed for each test, "ok" or "not ok" and its sentence, and at the end a line
 * `N passed, N failed`. A failed CHECK names its place; the test goes on, so that it frees what it
 * holds. A failed REQUIRE ends the program: nothing after it would make sense.
 */
#ifndef TEST_H
#define TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEST_MAX = 256 };

/* Seed of random tests; make sets it from the date. */
static inline unsigned test_seed(void) {
	const char *seed = getenv("SEED");
	return seed != NULL ? (unsigned)strtoul(seed, NULL, 10) : 1;
}

/* How often a random test repeats: `full` with SOAK in the environment, otherwise `sample`. */
static inline int test_tries(int sample, int full) {
	return getenv("SOAK") != NULL ? full : sample;
}

static struct {
	struct {
		const char *name;
		void (*run)(void);
	} tests[TEST_MAX];
	size_t count;
	bool failed; /* the test that runs now */
} test_state;

/* Defines a test, and puts it on the list before main() begins. */
#define TEST(name)                                                                                 \
	static void name(void);                                                                    \
	__attribute__((constructor)) static void add_##name(void) {                                \
		test_add(#name, name);                                                             \
	}                                                                                          \
	static void name(void)

#define CHECK(condition) test_check((condition), #condition, __FILE__, __LINE__)
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!CHECK(condition))                                                             \
			abort();                                                                   \
	} while (0)

/* Compares two strings, and shows both where they differ. */
#define CHECK_STR(got, want) test_check_str((got), (want), __FILE__, __LINE__)

static inline void test_add(const char *name, void (*run)(void)) {
	if (test_state.count == TEST_MAX)
		abort();
	test_state.tests[test_state.count].name = name;
	test_state.tests[test_state.count].run = run;
	test_state.count++;
}

static inline bool test_check(bool condition, const char *text, const char *file, int line) {
	if (!condition) {
		printf("# %s:%d: %s\n", file, line, text);
		fflush(stdout);
		test_state.failed = true;
	}
	return condition;
}

static inline bool test_check_str(const char *got, const char *want, const char *file, int line) {
	const bool same = strcmp(got, want) == 0;
	if (!same)
		printf("# got  %s\n# want %s\n", got, want);
	return test_check(same, "the strings are equal", file, line);
}

/* Runs every test. Returns the exit status of the program. */
static inline int test_run(const char *suite) {
	size_t failed = 0;
	for (size_t i = 0; i < test_state.count; i++) {
		test_state.failed = false;
		test_state.tests[i].run();
		printf("%s - %s: ", test_state.failed ? "not ok" : "ok", suite);
		for (const char *c = test_state.tests[i].name; *c != '\0'; c++)
			putchar(*c == '_' ? ' ' : *c);
		putchar('\n');
		fflush(stdout);
		failed += test_state.failed ? 1 : 0;
	}
	if (failed > 0)
		printf("# SEED=%u repeats the random choices\n", test_seed());
	printf("%zu passed, %zu failed\n", test_state.count - failed, failed);
	return failed > 0 || test_state.count == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
