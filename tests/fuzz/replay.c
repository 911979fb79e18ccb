/*
 * Runs a fuzzer's target over the files named as arguments, without a fuzzing engine: the corpus as
 * a regression test, with any compiler. An input that fails ends the program by a signal.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path) {
	FILE *file = fopen(path, "rb");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	const size_t size = (size_t)ftell(file);
	uint8_t *data = malloc(size > 0 ? size : 1);
	rewind(file);
	if (data == NULL || fread(data, 1, size, file) != size) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	printf("ok - %s\n", path);
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOLBF,
		0); /* so that the last line names the input before a failure */
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	printf("%d passed, %d failed\n", argc - 1, argc > 1 ? 0 : 1);
	return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
