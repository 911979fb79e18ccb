/* The decoder: XML to tokens, with expat. */
#include <string.h>

#include <expat.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/stanza.h>
#include <pn/wire.h>

/* The stream around a stanza: the decoder reads the stanza as its child. */
static const char STREAM_OPEN[] =
	"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
static const char STREAM_CLOSE[] = "</stream:stream>";

enum { SEPARATOR = '\1' }; /* between namespace and local name, as in Prosody's stanzas */

/* The namespace of an open element: its bytes among the tokens. */
struct namespace {
	size_t at;
	size_t len;
};

/* Invariant: `namespaces` has `foreign` entries. */
struct decoder {
	struct pn_buf *out;
	XML_Parser parser;
	struct pn_decode_limits limits;
	uint32_t depth;    /* open elements within the stream */
	uint32_t elements; /* so far */
	uint32_t foreign;  /* depth from the outermost element that is not of jabber:client */
	struct namespace *namespaces; /* owned: of the open foreign elements */
	uint32_t namespaces_cap;
	size_t text_at; /* offset of the length of the current TEXT */
	bool in_text;   /* the last token is TEXT, and its length is not written yet */
	bool in_stream; /* the stream's start tag has been read, or there is no stream */
	bool document;  /* there is no stream: see pn_stanza_decode_document() */
	int err;        /* the reason why the parser was stopped */
};

static void stop(struct decoder *dec, int err) {
	if (dec->err == PN_OK)
		dec->err = err;
	XML_StopParser(dec->parser, XML_FALSE);
}

/* The one mapper of expat's errors. */
static int map_error(enum XML_Error error) {
	switch (error) {
	case XML_ERROR_NO_MEMORY:
		return PN_ENOMEM;
	case XML_ERROR_UNDEFINED_ENTITY:
	case XML_ERROR_RECURSIVE_ENTITY_REF:
	case XML_ERROR_MISPLACED_XML_PI:
		return PN_ERESTRICTED;
	default:
		return PN_EXML;
	}
}

static void put_string(struct decoder *dec, const char *bytes, size_t len) {
	pn_wire_put_bytes(dec->out, bytes, (uint32_t)len);
}

/* Ends the current TEXT: writes its length. */
static void end_text(struct decoder *dec) {
	if (!dec->in_text)
		return;
	dec->in_text = false;
	pn_wire_set_u32(dec->out, dec->text_at, (uint32_t)(dec->out->len - dec->text_at - 4));
}

static void put_attr(struct decoder *dec, struct pn_str key, struct pn_str value) {
	pn_wire_put_u8(dec->out, PN_TOKEN_ATTR);
	put_string(dec, key.bytes, key.len);
	put_string(dec, value.bytes, value.len);
}

static void put_xml_attr(struct decoder *dec, const char *local, struct pn_str value) {
	static const char prefix[] = "xml:";
	pn_wire_put_u8(dec->out, PN_TOKEN_ATTR);
	pn_wire_put_u32(dec->out, (uint32_t)(sizeof(prefix) - 1 + strlen(local)));
	pn_buf_append(dec->out, prefix, sizeof(prefix) - 1);
	pn_buf_append(dec->out, local, strlen(local));
	put_string(dec, value.bytes, value.len);
}

/* Writes "http://www.w3.org/XML/1998/namespace\1lang" as xml:lang. In a stream there are four such
 * names, in a document all have the prefix. */
static void put_attr_of(struct decoder *dec, const char *key, const char *value) {
	static const char xml_ns[] = "http://www.w3.org/XML/1998/namespace\1";
	static const struct pn_str known[] = {
		{"xml:lang", 8}, {"xml:space", 9}, {"xml:base", 8}, {"xml:id", 6}};
	struct pn_str name = {key, strlen(key)};
	if (strncmp(key, xml_ns, sizeof(xml_ns) - 1) == 0) {
		if (dec->document) {
			put_xml_attr(dec, key + sizeof(xml_ns) - 1,
				     (struct pn_str){value, strlen(value)});
			return;
		}
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
			if (strcmp(key + sizeof(xml_ns) - 1, known[i].bytes + 4) == 0)
				name = known[i];
		}
	}
	put_attr(dec, name, (struct pn_str){value, strlen(value)});
}

/* Writes the element's xmlns, without its bytes if they are the same as the parent's. */
static void put_xmlns(struct decoder *dec, struct pn_str ns) {
	if (dec->foreign == dec->namespaces_cap) {
		const uint32_t cap = dec->namespaces_cap > 0 ? dec->namespaces_cap * 2 : 16;
		struct namespace *grown = pn_realloc(dec->namespaces, cap * sizeof(*grown));
		if (grown == NULL) {
			stop(dec, PN_ENOMEM);
			return;
		}
		dec->namespaces = grown;
		dec->namespaces_cap = cap;
	}
	struct namespace *own = &dec->namespaces[dec->foreign++];
	if (dec->foreign > 1 && own[-1].len == ns.len && dec->out->err == PN_OK &&
	    memcmp(dec->out->data + own[-1].at, ns.bytes, ns.len) == 0) {
		*own = own[-1];
		pn_wire_put_u8(dec->out, PN_TOKEN_XMLNS);
		return;
	}
	put_attr(dec, (struct pn_str){"xmlns", 5}, ns);
	*own = (struct namespace){dec->out->len - ns.len, ns.len};
}

static bool within_limits(struct decoder *dec) {
	if (dec->depth == 0 && dec->elements > 0)
		stop(dec, PN_EXML); /* a second root */
	else if (dec->depth >= dec->limits.depth)
		stop(dec, PN_EDEPTH);
	else if (dec->elements >= dec->limits.elements)
		stop(dec, PN_EELEMENTS);
	return dec->err == PN_OK;
}

/* Bounds the tokens: thousands of attributes can share one long namespace. */
static void check_output(struct decoder *dec) {
	if (dec->out->err != PN_OK)
		stop(dec, dec->out->err);
	else if (dec->out->len > 2 * (size_t)PN_STANZA_MAX_BYTES)
		stop(dec, PN_ESIZE);
}

static void XMLCALL on_start(void *data, const char *name, const char **attrs) {
	struct decoder *dec = data;
	if (!dec->in_stream) {
		dec->in_stream = true;
		return;
	}
	if (!within_limits(dec))
		return;
	end_text(dec);
	dec->depth++;
	dec->elements++;

	const char *separator = strchr(name, SEPARATOR);
	const char *local = separator != NULL ? separator + 1 : name;
	const struct pn_str ns = {name, separator != NULL ? (size_t)(separator - name) : 0};
	const bool client = ns.len == 13 && memcmp(ns.bytes, "jabber:client", 13) == 0;

	pn_wire_put_u8(dec->out, PN_TOKEN_START);
	put_string(dec, local, strlen(local));
	if (dec->document && ns.len > 0)
		put_attr(dec, (struct pn_str){"xmlns", 5}, ns);
	else if (!dec->document && (!client || dec->foreign > 0))
		put_xmlns(dec, ns);
	for (; attrs[0] != NULL && dec->err == PN_OK; attrs += 2) {
		put_attr_of(dec, attrs[0], attrs[1]);
		check_output(dec);
	}
	check_output(dec);
}

static void XMLCALL on_end(void *data, const char *name) {
	struct decoder *dec = data;
	(void)name;
	if (dec->depth == 0)
		return; /* the end of the stream; if it was in the stanza, expat fails next */
	end_text(dec);
	dec->depth--;
	if (dec->foreign > 0)
		dec->foreign--;
	pn_wire_put_u8(dec->out, PN_TOKEN_END);
}

static void XMLCALL on_text(void *data, const char *bytes, int len) {
	struct decoder *dec = data;
	if (dec->depth == 0) {
		stop(dec, PN_EXML);
		return;
	}
	if (!dec->in_text) {
		pn_wire_put_u8(dec->out, PN_TOKEN_TEXT);
		dec->text_at = dec->out->len;
		pn_wire_put_u32(dec->out, 0);
		dec->in_text = true;
	}
	pn_buf_append(dec->out, bytes, (size_t)len);
	check_output(dec);
}

static void XMLCALL on_comment(void *data, const char *text) {
	(void)text;
	stop(data, PN_ERESTRICTED);
}

static void XMLCALL on_instruction(void *data, const char *target, const char *text) {
	(void)target;
	(void)text;
	stop(data, PN_ERESTRICTED);
}

static void XMLCALL on_doctype(void *data, const char *name, const char *system_id,
			       const char *public_id, int has_subset) {
	(void)name;
	(void)system_id;
	(void)public_id;
	(void)has_subset;
	stop(data, PN_ERESTRICTED);
}

static void XMLCALL on_declaration(void *data, const char *version, const char *encoding,
				   int standalone) {
	(void)version;
	(void)encoding;
	(void)standalone;
	stop(data, PN_ERESTRICTED);
}

static int feed(struct decoder *dec, const char *bytes, size_t len, int final) {
	if (XML_Parse(dec->parser, bytes, (int)len, final) == XML_STATUS_OK)
		return PN_OK;
	return dec->err != PN_OK ? dec->err : map_error(XML_GetErrorCode(dec->parser));
}

/* A DTD after the start tag of a stream is not well-formed: expat rejects it. */
static int parse_in_stream(struct decoder *dec, struct pn_str xml) {
	int err = feed(dec, STREAM_OPEN, sizeof(STREAM_OPEN) - 1, XML_FALSE);
	if (err == PN_OK)
		err = feed(dec, xml.bytes, xml.len, XML_FALSE);
	if (err == PN_OK)
		err = feed(dec, STREAM_CLOSE, sizeof(STREAM_CLOSE) - 1, XML_TRUE);
	return err;
}

static int parse_document(struct decoder *dec, struct pn_str xml) {
	dec->in_stream = true;
	XML_SetStartDoctypeDeclHandler(dec->parser, on_doctype);
	XML_SetXmlDeclHandler(dec->parser, on_declaration);
	return feed(dec, xml.bytes, xml.len, XML_TRUE);
}

static int parse(struct decoder *dec, struct pn_str xml) {
	XML_SetUserData(dec->parser, dec);
	XML_SetElementHandler(dec->parser, on_start, on_end);
	XML_SetCharacterDataHandler(dec->parser, on_text);
	XML_SetCommentHandler(dec->parser, on_comment);
	XML_SetProcessingInstructionHandler(dec->parser, on_instruction);
	int err = dec->document ? parse_document(dec, xml) : parse_in_stream(dec, xml);
	if (err == PN_OK && dec->elements == 0)
		err = PN_EXML;
	return err != PN_OK ? err : dec->out->err;
}

static int decode(struct decoder *dec, struct pn_str xml) {
	static const XML_Memory_Handling_Suite memory = {pn_malloc, pn_realloc, pn_free};
	static const char separator[] = {SEPARATOR, '\0'};
	struct pn_decode_limits *const limits = &dec->limits;
	if (limits->bytes == 0 || limits->bytes > PN_STANZA_MAX_BYTES)
		limits->bytes = PN_STANZA_MAX_BYTES;
	if (limits->depth == 0)
		limits->depth = PN_STANZA_MAX_DEPTH;
	if (limits->elements == 0)
		limits->elements = PN_STANZA_MAX_ELEMENTS;
	if (xml.len > limits->bytes)
		return PN_ESIZE;

	dec->parser = XML_ParserCreate_MM("UTF-8", &memory, separator);
	if (dec->parser == NULL)
		return PN_ENOMEM;
	const int err = parse(dec, xml);
	XML_ParserFree(dec->parser);
	pn_free(dec->namespaces);
	return err;
}

int pn_stanza_decode(struct pn_buf *out, struct pn_str xml, struct pn_decode_limits limits) {
	return decode(&(struct decoder){.out = out, .limits = limits}, xml);
}

int pn_stanza_decode_document(struct pn_buf *out, struct pn_str xml) {
	return decode(&(struct decoder){.out = out, .document = true}, xml);
}
