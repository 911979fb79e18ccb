/* The encoder as a handle, and as the sink of a walk. */
#include <pn/err.h>

#include "encoder.h"
#include "glue.h"

/* Bytes of memory that the encoder keeps between two calls: most stanzas take less. */
enum { KEEP = 64 * 1024 };

static int encoder_close(lua_State *L) {
	struct pn_glue_encoder *encoder = lua_touserdata(L, 1);
	if (encoder == NULL)
		return 0;
	(void)pn_encoder_finish(&encoder->enc);
	pn_buf_free(&encoder->out);
	return 0;
}

void pn_glue_encoder_new(lua_State *L, const char *type) {
	static const luaL_Reg NO_METHODS[] = {{NULL, NULL}};
	pn_glue_type(L, type, NO_METHODS, encoder_close);
	pn_glue_handle(L, type, sizeof(struct pn_glue_encoder), 0);
}

struct pn_glue_encoder *pn_glue_encoder_take(lua_State *L, int index) {
	struct pn_glue_encoder *encoder = lua_touserdata(L, index);
	(void)pn_encoder_finish(&encoder->enc); /* frees what a raised error has left */
	pn_buf_reset(&encoder->out, KEEP);
	pn_encoder_init(&encoder->enc, &encoder->out);
	return encoder;
}

int pn_glue_push_buf(lua_State *L, const struct pn_buf *buf) {
	lua_pushlstring(L, (const char *)buf->data, buf->len);
	return 1;
}

static void sink_start(void *to, struct pn_str name) {
	pn_encoder_start(to, name);
}

static void sink_attr(void *to, struct pn_str key, struct pn_str value) {
	pn_encoder_attr(to, key, value);
}

static void sink_text(void *to, struct pn_str text) {
	pn_encoder_text(to, text);
}

static void sink_end(void *to) {
	pn_encoder_end(to);
}

static int sink_error(const void *to) {
	const struct pn_encoder *enc = to;
	return enc->err != PN_OK ? enc->err : enc->out->err;
}

const struct pn_glue_sink PN_GLUE_XML = {sink_start, sink_attr,  sink_text,
					 sink_end,   sink_error, false};

const struct pn_glue_sink PN_GLUE_XML_OF_STRINGS = {sink_start, sink_attr,  sink_text,
						    sink_end,   sink_error, true};
