/* Streams: what survives the restarts of a session's stream. */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "parser.h"

int pn_stream_new(struct pn_stream **out, struct pn_stream_pool *pool,
		  const struct pn_stream_kind *kind) {
	struct pn_stream *stream = pn_malloc(sizeof(*stream));
	if (stream == NULL)
		return PN_ENOMEM;
	*stream = (struct pn_stream){.pool = pool, .kind = kind};
	pn_log_clear(&stream->log, 0);
	*out = stream;
	return PN_OK;
}

void pn_stream_free(struct pn_stream *stream) {
	if (stream == NULL)
		return;
	pn_buf_free(&stream->log.items);
	pn_buf_free(&stream->lang);
	pn_free(stream);
}

void pn_stream_reset(struct pn_stream *stream) {
	if (!stream->begins)
		pn_log_clear(&stream->log, 0);
	stream->size = 0;
}

void pn_stream_begin(struct pn_stream *stream) {
	stream->begins = false;
	stream->counts = stream->limited;
	stream->quota = stream->max_elements;
}

void pn_stream_expect_opening(struct pn_stream *stream, bool expected) {
	stream->expects_opening = expected;
}

void pn_stream_limit_elements(struct pn_stream *stream, double max) {
	stream->limited = true;
	stream->max_elements = max;
}

void pn_stream_unlimit_elements(struct pn_stream *stream) {
	stream->limited = false;
}

bool pn_stream_max_elements(const struct pn_stream *stream, double *max) {
	if (stream->limited)
		*max = stream->max_elements;
	return stream->limited;
}

struct pn_str pn_stream_lang(const struct pn_stream *stream) {
	if (stream->lang.len == 0)
		return (struct pn_str){"en", 2};
	return (struct pn_str){(const char *)stream->lang.data, stream->lang.len - 1};
}

int64_t pn_stream_take_progress(struct pn_stream *stream) {
	const int64_t progress = stream->progress;
	stream->progress = 0;
	return progress;
}

bool pn_stream_next(const struct pn_stream *stream, size_t *at, struct pn_stream_item *item) {
	return pn_log_next(&stream->log, at, item);
}

uint32_t pn_stream_levels(const struct pn_stream *stream) {
	return stream->log.levels;
}

void pn_stream_forget(struct pn_stream *stream) {
	if (stream->log.open == PN_LOG_NONE)
		pn_log_clear(&stream->log, SIZE_MAX);
}
