# prosody-native: see `make help`. `make` alone needs a compiler, Lua 5.4's and expat's headers, and
# no network; tests/setup installs them on Debian.

BUILD ?= release
OUT := build/$(BUILD)
MODULES := mod_smacks mod_mam mod_muc_mam mod_storage_native mod_stream_native mod_s2s_auth_native mod_certs mod_native mod_webchat

CC ?= gcc
CLANG ?= clang
LUA_CFLAGS := $(shell pkg-config --cflags lua5.4 2>/dev/null || echo -I/usr/include/lua5.4)
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Werror
HARDENING := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
CFLAGS_release := -O2 -g -flto=auto -ffat-lto-objects $(HARDENING)
CFLAGS_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CPPFLAGS += -D_GNU_SOURCE -Iinclude
CFLAGS += -std=c11 -fPIC -fvisibility=hidden $(WARNINGS) $(CFLAGS_$(BUILD))
LDFLAGS += -Wl,-z,relro,-z,now

# ---- Objects ----

BASE := modules/base/err.o modules/base/buf.o modules/base/wire.o
ALLOC := modules/base/alloc.o
GLUE := modules/glue/glue.o
GLUE_STANZA := modules/glue/stanza.o
GLUE_ENCODER := modules/glue/encoder.o
STANZA := modules/stanza/encode.o modules/stanza/escape.o modules/stanza/stamp.o modules/stanza/splice.o modules/stanza/decode.o
PACK := modules/stanza/pack.o
RESULT := modules/stanza/result.o
PACK_XML := modules/stanza/document.o modules/stanza/valid.o
COMPRESS := modules/stanza/compress.o modules/stanza/dictionary.o
STREAM := $(addprefix modules/stream/,scan.o log.o expat.o pool.o stream.o parser.o)
SMQ := $(addprefix modules/smq/,smq.o account.o copies.o)
DB := $(addprefix modules/db/,error.o lock.o log_segment.o log_read.o log.o crypt.o lmdb_page.o lmdb_file.o guard.o ahead.o worker.o durable.o position.o \
	checkpoint.o environment.o sync.o redo.o catch_up.o reader.o room.o verify.o turn.o txn.o records.o series.o format.o env.o \
	snapshot.o copy.o replace.o info.o compact.o)
STORE := $(addprefix modules/store/,keys.o host.o collection.o kv.o erase.o size.o stat.o check.o)
ARCHIVE := $(addprefix modules/archive/,message.o recent.o ids.o index.o deleted.o peer.o peers.o unordered.o listed.o runs.o query.o walk.o marks.o append.o read.o remove.o delete.o erase.o days.o compress.o check.o)
CERT := $(addprefix modules/cert/,der.o chain.o names.o match.o tlsa.o constraints.o cause.o verify.o request.o key.o)
LUA_CERTS := $(addprefix modules/cert/,lua_certs.o lua_chain.o lua_verify.o)
CERT_LIBS := -lcrypto -lidn2 -lpsl
DNS := $(addprefix modules/dns/,resolver.o answer.o ask.o)
DNS_LIBS := -lunbound -lldns
FILE := modules/file/file.o
CORE_LIBS := -lexpat -llmdb -lzstd -lpthread -lm $(CERT_LIBS) $(DNS_LIBS)
CORES := $(BASE) $(STREAM) $(STANZA) $(RESULT) $(PACK) $(PACK_XML) $(COMPRESS) $(SMQ) $(DB) $(STORE) $(ARCHIVE) $(CERT) $(DNS) $(FILE)
LUA_SMACKS := modules/glue/lua_smacks.o modules/stanza/lua_stanza.o modules/smq/lua_smq.o
LUA_STREAM := modules/glue/lua_native_stream.o $(addprefix modules/stream/,lua_stream.o lua_build.o) modules/stanza/lua_functions.o modules/stanza/lua_adding.o
LUA_STORE := $(addprefix modules/,glue/store.o glue/value.o store/lua_store.o store/lua_pack.o store/lua_keyval.o store/lua_tools.o archive/lua_archive.o archive/lua_page.o archive/lua_query.o)

SHARED_OBJECTS := mod_smacks/smacks.so mod_mam/mam.so mod_storage_native/store.so mod_stream_native/stream.so \
	mod_s2s_auth_native/certs.so mod_certs/certs.so mod_certs/dns.so mod_certs/file.so
$(OUT)/mod_smacks/smacks.so: $(addprefix $(OUT)/,$(LUA_SMACKS) $(STANZA) $(PACK) $(SMQ) $(BASE) $(ALLOC) $(GLUE) $(GLUE_STANZA) $(GLUE_ENCODER))
$(OUT)/mod_smacks/smacks.so: LDLIBS := -lexpat
$(OUT)/mod_stream_native/stream.so: $(addprefix $(OUT)/,$(LUA_STREAM) $(STREAM) modules/stanza/encode.o modules/stanza/escape.o modules/stanza/valid.o $(PACK) $(BASE) $(ALLOC) $(GLUE) $(GLUE_STANZA) $(GLUE_ENCODER))
$(OUT)/mod_stream_native/stream.so: LDLIBS := -lexpat
$(OUT)/mod_mam/mam.so: $(OUT)/modules/mam/lua_mam.o
$(OUT)/mod_storage_native/store.so: $(addprefix $(OUT)/,$(LUA_STORE) $(DB) $(STORE) $(ARCHIVE) $(STANZA) $(RESULT) $(PACK) $(PACK_XML) $(COMPRESS) $(BASE) $(ALLOC) $(GLUE) $(GLUE_STANZA))
$(OUT)/mod_storage_native/store.so: LDLIBS := -lexpat -llmdb -lzstd -lcrypto -lpthread -lm
$(OUT)/mod_s2s_auth_native/certs.so $(OUT)/mod_certs/certs.so: $(addprefix $(OUT)/,$(LUA_CERTS) $(CERT) $(BASE) $(ALLOC) $(GLUE))
$(OUT)/mod_s2s_auth_native/certs.so $(OUT)/mod_certs/certs.so: LDLIBS := $(CERT_LIBS)
$(OUT)/mod_certs/dns.so: $(addprefix $(OUT)/,modules/dns/lua_dns.o $(DNS) $(BASE) $(ALLOC) $(GLUE))
$(OUT)/mod_certs/dns.so: LDLIBS := $(DNS_LIBS)
$(OUT)/mod_certs/file.so: $(addprefix $(OUT)/,modules/file/lua_file.o $(FILE) $(BASE) $(ALLOC) $(GLUE))

# Lua files of several modules: every folder gets a copy, so that it is self-contained
SHARED_LIBS := $(addsuffix native.lib.lua,$(sort $(dir $(SHARED_OBJECTS)))) \
	$(foreach lib,terminal table command,$(addsuffix /$(lib).lib.lua,mod_storage_native mod_certs mod_native)) \
	mod_storage_native/paths.lib.lua mod_certs/paths.lib.lua mod_certs/unbound.lib.lua mod_native/unbound.lib.lua \
	mod_s2s_auth_native/excluded.lib.lua mod_native/excluded.lib.lua \
	mod_smacks/tuning.lib.lua mod_storage_native/tuning.lib.lua mod_stream_native/tuning.lib.lua \
	mod_mam/stanza_id.lib.lua mod_mam/stanza_root.lib.lua \
	$(foreach lib,archive_append archive_expiry direct_send mam_encoded mam_page mam_query stock xmpp_time,$(addsuffix /$(lib).lib.lua,mod_mam mod_muc_mam)) \
	$(addsuffix /option_reader.lib.lua,$(MODULES))

UNIT_TESTS := base stream stanza result decode document smq smq_accounts pack compress dictionary deleted marks store archive times order archive_compress damage open room series limits log log_damage turn sync crash copy compact verification ahead lmdb_file lmdb_file_damage \
	cert verify refusal names xmppaddr constraints tlsa key dns file
FUZZERS := decode encode stream smq pack compress store log lmdb_file cert tlsa dns

.DEFAULT_GOAL := all
.PHONY: all help webchat install uninstall deb test-deb clean dictionary demo pictures test soak unit spec integration crash asan bench lint format fuzz newest
.DELETE_ON_ERROR:
.SECONDARY: # keep compiled objects of tests for the next run

all: $(addprefix lua/,$(SHARED_OBJECTS) $(SHARED_LIBS)) ## build the modules; lua/ can be named in plugin_paths

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

# ---- Building ----

# Report missing headers first, and not in the first file that includes them
HEADERS := lua.h expat.h lmdb.h xxhash.h zstd.h openssl/evp.h idn2.h libpsl.h unbound.h ldns/ldns.h
$(OUT)/equipped:
	@mkdir -p $(@D)
	@printf '#include <%s>\n' $(HEADERS) | $(CC) $(CPPFLAGS) $(CFLAGS) $(LUA_CFLAGS) -x c -E - >/dev/null && touch $@ || { \
		echo "A C compiler and these headers are needed: $(HEADERS)"; \
		echo "On Debian 'tests/setup build' installs them."; exit 1; } >&2

$(OUT)/%.o: %.c | $(OUT)/equipped
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(addprefix $(OUT)/,$(MODULES)):
	@mkdir -p $@

# Only bindings see lua.h. None links liblua: the Lua that loads them has the symbols.
$(OUT)/modules/glue/%.o $(OUT)/modules/mam/lua_%.o $(OUT)/modules/stanza/lua_%.o $(OUT)/modules/stream/lua_%.o $(OUT)/modules/smq/lua_%.o $(OUT)/modules/store/lua_%.o $(OUT)/modules/archive/lua_%.o $(OUT)/modules/cert/lua_%.o $(OUT)/modules/dns/lua_%.o $(OUT)/modules/file/lua_%.o: CPPFLAGS += $(LUA_CFLAGS)

$(OUT)/%.so: | $(addprefix $(OUT)/,$(MODULES))
	@echo "  LINK $@"
	@$(CC) $(CFLAGS) -shared $(LDFLAGS) -o $@ $(filter %.o,$^) $(LDLIBS)

# Rename, so that a running server keeps the file that it has mapped
lua/%.so: $(OUT)/%.so
	@cp $< $@.new && mv -f $@.new $@

.SECONDEXPANSION:
$(addprefix lua/,$(SHARED_LIBS)): lua/shared/$$(@F)
	@cp $< $@.new && mv -f $@.new $@

# Converse.js for mod_webchat
CONVERSE := lua/mod_webchat/converse
webchat: $(CONVERSE)/dist/converse.min.js ## download Converse.js for mod_webchat (needs npm and the network)
$(CONVERSE)/dist/converse.min.js: $(CONVERSE)/get.sh
	@sh $<
	@touch $@

-include $(wildcard $(OUT)/modules/*/*.d $(OUT)/tests/*/*.d)

# ---- Installing: PLUGINDIR is a directory that plugin_paths in prosody.cfg.lua names ----

install: all ## copy the modules to PLUGINDIR
	@test -n "$(PLUGINDIR)" || { echo "usage: make install PLUGINDIR=/path/named/in/plugin_paths"; exit 2; }
	@for module in $(MODULES); do \
		for file in $$(cd lua && find $$module -type f); do \
			to="$(DESTDIR)$(PLUGINDIR)/$$file"; \
			install -D -m 644 "lua/$$file" "$$to.new" && mv -f "$$to.new" "$$to" || exit 1; \
		done; \
		echo "installed $$module in $(DESTDIR)$(PLUGINDIR)"; \
	done

uninstall: ## remove the modules from PLUGINDIR
	@test -n "$(PLUGINDIR)" || { echo "usage: make uninstall PLUGINDIR=/path/named/in/plugin_paths"; exit 2; }
	@for module in $(MODULES); do \
		for file in $$(cd lua && find $$module -type f); do rm -f "$(DESTDIR)$(PLUGINDIR)/$$file"; done; \
		find "$(DESTDIR)$(PLUGINDIR)/$$module" -type d -empty -delete 2>/dev/null || true; \
		echo "removed $$module from $(DESTDIR)$(PLUGINDIR)"; \
	done

deb: ## build a Debian package below build/deb
	@tests/setup build deb
	@tests/deb/build

test-deb: deb ## install the package in a bare Debian, use it, and purge it (needs root)
	@tests/setup chroot
	@tests/deb/run

clean: ## remove built files; downloads of tests/setup stay
	rm -rf build/release build/asan build/fuzz $(addprefix lua/,$(SHARED_OBJECTS) $(SHARED_LIBS))

# ---- Demonstration and tests ----

dictionary: $(OUT)/tests/unit/test_dictionary ## write modules/stanza/dictionary.c from dictionary.txt: a new format on the disk
	@$< write >modules/stanza/dictionary.c.new && mv modules/stanza/dictionary.c.new modules/stanza/dictionary.c

demo: ## show that a cut connection and a killed server lose no message (ONCE=1 ends by itself)
	@tests/setup build prosody strophe
	@$(MAKE) -s all
	@ONCE=$(ONCE) python3 tests/demo.py

pictures: all ## renew the pictures in docs/images, of real servers
	@tests/setup build prosody browser
	@for program in tests/pictures/*.py; do $$program || exit 1; done

# Seed of random tests: the date, so it changes each day; SEED=... repeats a run
export SEED ?= $(shell date -u +%Y%m%d)

test: ## set up, build, and run all tests, with a sample of random ones
	@tests/setup
	@$(MAKE) -s -j$$(nproc) --output-sync=target all
	@tests/run

soak: ## random tests in full: kills, power cuts, properties, failing allocations; fuzzers for FUZZ_SECONDS each
	@tests/setup
	@$(MAKE) -s -j$$(nproc) --output-sync=target all
	@SOAK=1 FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run unit spec crash soak repeats fuzz

# Many programs share the objects: link-time optimization of each would take minutes
LINK_TEST = $(CC) $(CFLAGS) -fno-lto $(LDFLAGS)

UNIT_PROGRAMS := $(addprefix oom/test_,cert_faults cert_refusals store_faults oom lua) $(addprefix unit/test_,$(UNIT_TESTS))
unit: $(addprefix run/,$(UNIT_PROGRAMS)) replay ## C tests of the cores

run/%: $(OUT)/tests/%
	@$<

$(OUT)/tests/unit/test_%: $(OUT)/tests/unit/test_%.o $(OUT)/tests/oom/alloc.o $(addprefix $(OUT)/,$(CORES))
	@$(LINK_TEST) -o $@ $^ $(CORE_LIBS)

# The linker wraps the functions that tests make fail: those of the operating system and of LMDB
wrap = $(addprefix -Wl$(comma)--wrap=,$(1))
comma := ,
$(OUT)/tests/unit/test_log $(OUT)/tests/unit/test_log_damage: LDFLAGS += $(call wrap,fdatasync pwritev fallocate)
SYNC_FAULTS := fdatasync pwrite pwritev fallocate fstatvfs pthread_create mdb_txn_begin mdb_txn_commit mdb_put
$(OUT)/tests/unit/test_sync $(OUT)/tests/unit/test_turn: LDFLAGS += $(call wrap,$(SYNC_FAULTS))
$(OUT)/tests/unit/test_copy: LDFLAGS += $(call wrap,mdb_cursor_get)
$(OUT)/tests/unit/test_times $(OUT)/tests/unit/test_order: LDFLAGS += $(call wrap,mdb_get mdb_cursor_get)
$(OUT)/tests/unit/test_compact: LDFLAGS += $(call wrap,$(SYNC_FAULTS) fsync renameat unlinkat)
$(OUT)/tests/unit/test_verification: LDFLAGS += $(call wrap,pread pthread_create pthread_join)
$(OUT)/tests/unit/test_ahead: LDFLAGS += $(call wrap,posix_fadvise)

$(OUT)/tests/unit/test_stream: LDFLAGS += $(call wrap,XML_Parse)
$(OUT)/tests/unit/test_recent: LDFLAGS += $(call wrap,mdb_put)
$(OUT)/tests/unit/test_series: LDFLAGS += $(call wrap,mdb_put mdb_del mdb_cursor_open mdb_cursor_get)
$(OUT)/tests/unit/test_compress: LDFLAGS += $(call wrap,$(addprefix ZSTD_,createCCtx createDCtx CCtx_loadDictionary DCtx_loadDictionary compress2 decompressDCtx))

FAULTS := $(addprefix mdb_,put del get stat cursor_del cursor_get cursor_open txn_begin txn_renew txn_reset txn_abort txn_commit env_create \
	env_open env_sync env_set_mapsize env_info env_get_fd dbi_open reader_check)
$(OUT)/tests/oom/test_store_faults: LDFLAGS += $(call wrap,$(FAULTS) ZSTD_createCCtx ZSTD_createDCtx)
$(OUT)/tests/oom/test_store_faults: $(addprefix $(OUT)/tests/oom/,test_store_faults.o faults.o alloc.o) $(addprefix $(OUT)/,$(CORES))
	@$(LINK_TEST) -o $@ $^ $(CORE_LIBS)

$(OUT)/tests/oom/test_cert_%: $(OUT)/tests/oom/test_cert_%.o $(OUT)/tests/oom/alloc.o $(addprefix $(OUT)/,$(CORES))
	@$(LINK_TEST) -o $@ $^ $(CORE_LIBS)

$(OUT)/tests/oom/test_oom: $(OUT)/tests/oom/test_oom.o $(OUT)/tests/oom/alloc.o $(addprefix $(OUT)/,$(CORES))
	@$(LINK_TEST) -o $@ $^ $(CORE_LIBS)

$(OUT)/tests/oom/test_lua.o: CPPFLAGS += $(LUA_CFLAGS)
$(OUT)/tests/oom/test_lua: $(addprefix $(OUT)/,tests/oom/test_lua.o tests/oom/alloc.o $(CORES) $(GLUE) $(GLUE_STANZA) $(GLUE_ENCODER) $(LUA_SMACKS) $(LUA_STREAM) $(LUA_CERTS) modules/mam/lua_mam.o)
	@$(LINK_TEST) -o $@ $^ $(CORE_LIBS) -llua5.4

# It replaces functions of libc, also for LMDB
$(OUT)/tests/crash/test_powercut: $(addprefix $(OUT)/tests/,crash/test_powercut.o crash/disk.o oom/alloc.o) $(addprefix $(OUT)/,$(CORES))
	@$(LINK_TEST) -o $@ $^ $(CORE_LIBS)

.PHONY: replay
replay: $(addprefix $(OUT)/tests/fuzz/replay_,$(FUZZERS)) ## run the fuzzers' corpus
	@for fuzzer in $(FUZZERS); do $(OUT)/tests/fuzz/replay_$$fuzzer tests/fuzz/corpus/$$fuzzer/* || exit 1; done

$(OUT)/tests/fuzz/replay_%: $(OUT)/tests/fuzz/fuzz_%.o $(OUT)/tests/fuzz/replay.o $(addprefix $(OUT)/,$(CORES) $(ALLOC))
	@$(LINK_TEST) -o $@ $^ $(CORE_LIBS)

spec: all ## busted specs of the bindings and of the Lua libraries, on every unpacked Prosody
	@tests/run spec

integration: all ## integration tests with real servers and clients
	@tests/run integration

crash: all ## simulate power cuts at any write; kill a writing server KILLS times (200); check the stores
	@tests/setup build prosody
	@SOAK=1 tests/run crash

.PHONY: sanitized
sanitized: $(addprefix $(OUT)/,$(SHARED_OBJECTS))

newest: all ## specs and integration tests on the newest Prosody of Debian unstable
	@tests/setup
	@tests/setup newest
	@PROSODIES=build/newest tests/run spec integration

asan: ## unit tests and specs under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) -s BUILD=asan unit sanitized
	@tests/run spec-asan

$(OUT)/tests/bench/core: $(addprefix $(OUT)/,tests/bench/core.o tests/bench/messages.o $(CORES) $(ALLOC))
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(CORE_LIBS)

$(OUT)/tests/bench/written.so: $(OUT)/tests/bench/written.o
	@$(CC) $(CFLAGS) -shared $(LDFLAGS) -o $@ $^

$(OUT)/tests/bench/load: $(OUT)/tests/bench/load.o
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

$(OUT)/tests/bench/relay: $(OUT)/tests/bench/relay.o
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lssl -lcrypto

bench: all ## compare with the stock modules in the same run (BIG=1: with 10 million messages)
	@tests/setup build prosody bench
	@python3 tests/bench/run

FUZZ_SECONDS ?= 60
fuzz: ## run each fuzzer for FUZZ_SECONDS (60)
	@tests/setup build tools
	@mkdir -p build/fuzz/corpus
	@for fuzzer in $(FUZZERS); do \
		$(CLANG) -std=c11 $(CPPFLAGS) -O1 -g -fsanitize=fuzzer,address,undefined -o build/fuzz/$$fuzzer \
			tests/fuzz/fuzz_$$fuzzer.c $(patsubst %.o,%.c,$(CORES) $(ALLOC)) $(CORE_LIBS) || exit 1; \
		mkdir -p build/fuzz/corpus/$$fuzzer; \
		build/fuzz/$$fuzzer -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
			$$(test "$$fuzzer" = decode && echo -dict=tests/fuzz/decode.dict) \
			-artifact_prefix=build/fuzz/$$fuzzer- build/fuzz/corpus/$$fuzzer tests/fuzz/corpus/$$fuzzer || exit 1; \
	done

lint: ## layer rules, links in the documents, luacheck, clang-format, cppcheck; a warning is an error
	@tests/lint

format: ## clang-format over all C
	@clang-format -i $$(find include modules tests -name '*.[ch]')
