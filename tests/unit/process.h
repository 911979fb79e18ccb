/* Other processes. A child reports by its exit status. */
#ifndef TEST_PROCESS_H
#define TEST_PROCESS_H

#include <signal.h>
#include <sys/wait.h>

#include "store_fixture.h"

static inline bool succeeds(pid_t child) {
	int status;
	return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Ends a child: with 0 if nothing failed in it. */
static inline _Noreturn void leave(void) {
	fflush(stdout);
	_exit(test_state.failed ? 1 : 0);
}

/* Two names for one process to tell another that it has come so far. */
struct signal_pipe {
	int ends[2];
};

static inline void pipe_make(struct signal_pipe *pipe_) {
	REQUIRE(pipe(pipe_->ends) == 0);
}

static inline void tell(const struct signal_pipe *pipe_) {
	REQUIRE(write(pipe_->ends[1], "x", 1) == 1);
}

static inline void await(const struct signal_pipe *pipe_) {
	char byte;
	REQUIRE(read(pipe_->ends[0], &byte, 1) == 1);
}

static inline void pipe_close(struct signal_pipe *pipe_) {
	close(pipe_->ends[0]);
	close(pipe_->ends[1]);
}

/* In a child: opens the store as another process would. */
static inline void open_as_another(struct fixture *f) {
	pn_db_forget(f->db);
	REQUIRE(try_open(f) == PN_OK);
}

#endif
