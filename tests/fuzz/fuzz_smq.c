/*
 * The input is a start counter, limits, and then operations of three bytes each, done to queues and
 * to a naive model of them.
 *
 *      u8 distance of the counters from 2^32    u8 limit in items    u8 limit in units of 32 bytes
 *      { u8 operation and queue    u8 argument    u8 message }*
 */
#include "../unit/smq_model.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct fuzz_input in = {data, size};
	static struct smq_model model;
	const uint32_t start = 0u - fuzz_u8(&in);
	struct pn_smq_limits limits = {0};
	limits.items = fuzz_u8(&in);
	limits.bytes = fuzz_u8(&in) * 32u;
	FUZZ_ASSERT(smq_model_open(&model, limits, start));
	while (in.left > 0) {
		const uint8_t op = fuzz_u8(&in);
		const uint8_t arg = fuzz_u8(&in);
		FUZZ_ASSERT(smq_model_step(&model, op, arg, fuzz_u8(&in)));
	}
	smq_model_close(&model);
	FUZZ_ASSERT(model.pool.bytes == 0 && model.pool.items == 0 && model.pool.accounts == 0);
	return 0;
}
