/* The expat parsers of streams that are between two stanzas, by their last use. */
#include <pn/alloc.h>
#include <pn/err.h>

#include "parser.h"

enum { SPARE = 64 * 1024 }; /* bytes of the buffer that is kept */

int pn_stream_pool_new(struct pn_stream_pool **out, size_t idle) {
	struct pn_stream_pool *pool = pn_malloc(sizeof(*pool));
	if (pool == NULL)
		return PN_ENOMEM;
	*pool = (struct pn_stream_pool){.limit = idle};
	*out = pool;
	return PN_OK;
}

void pn_stream_pool_free(struct pn_stream_pool *pool) {
	if (pool == NULL)
		return;
	pn_buf_free(&pool->spare);
	pn_free(pool);
}

size_t pn_stream_pool_idle(const struct pn_stream_pool *pool) {
	return pool->idle;
}

void pn_pool_remove(struct pn_parser *parser) {
	struct pn_stream_pool *pool = parser->stream->pool;
	if (!parser->pooled)
		return;
	*(parser->newer != NULL ? &parser->newer->older : &pool->newest) = parser->older;
	*(parser->older != NULL ? &parser->older->newer : &pool->oldest) = parser->newer;
	parser->newer = parser->older = NULL;
	parser->pooled = false;
	pool->idle--;
}

void pn_pool_add(struct pn_parser *parser) {
	struct pn_stream_pool *pool = parser->stream->pool;
	parser->older = pool->newest;
	*(pool->newest != NULL ? &pool->newest->newer : &pool->oldest) = parser;
	pool->newest = parser;
	parser->pooled = true;
	pool->idle++;
	if (pool->idle <= pool->limit)
		return;
	struct pn_parser *last = pool->oldest;
	pn_pool_remove(last);
	pn_expat_free(last);
}

void pn_pool_take_buffer(struct pn_stream *stream) {
	struct pn_stream_pool *pool = stream->pool;
	if (stream->log.items.cap > 0)
		return;
	stream->log.items = pool->spare;
	pool->spare = (struct pn_buf){0};
}

void pn_pool_give_buffer(struct pn_stream *stream) {
	struct pn_stream_pool *pool = stream->pool;
	const bool is_better = pool->spare.cap == 0;
	pn_log_clear(&stream->log, is_better ? SPARE : 0);
	if (!is_better)
		return;
	pool->spare = stream->log.items;
	stream->log.items = (struct pn_buf){0};
}
