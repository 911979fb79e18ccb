/* modules/db/lmdb_file.h: each kind of damage, the page it is found on, and its name. */
#include "lmdb_file_fixture.h"

/* `at` is the reported page; it is computed before the damage. */
#define DAMAGE(sentence, at, problem, ...)                                                         \
	TEST(sentence) {                                                                           \
		struct fixture f;                                                                  \
		setup(&f);                                                                         \
		const uint64_t where = (at);                                                       \
		__VA_ARGS__;                                                                       \
		damaged(&f, where, problem);                                                       \
	}

/* ---- Metas ---- */

DAMAGE(a_meta_without_the_magic, 0, "is not a meta page, but the other one is",
       put32(page(&f, 0) + 16, 0))
DAMAGE(a_meta_of_another_data_version, 1, "is not a meta page, but the other one is",
       put32(page(&f, 1) + 20, 2))
DAMAGE(a_meta_of_another_page_size, 0, "is not a meta page, but the other one is",
       put32(page(&f, 0) + 40, 512))
DAMAGE(a_meta_with_the_number_of_another_page, 1, "has the number or the kind of another page",
       put64(page(&f, 1), 0))
DAMAGE(a_meta_that_says_it_is_a_leaf, 0, "has the number or the kind of another page",
       put16(page(&f, 0) + 10, 2))
DAMAGE(a_meta_at_the_other_metas_place, 0, "is of an impossible transaction",
       put64(page(&f, 0) + 144, SAMPLE_TXNS + 1))
DAMAGE(a_transaction_after_which_numbers_overflow, 1, "is of an impossible transaction",
       put64(page(&f, 1) + 144, UINT64_MAX))
DAMAGE(a_map_at_a_fixed_address, 0, "asks for a map at a fixed address",
       put64(page(&f, 0) + 24, 0x10000))
DAMAGE(a_map_that_fits_in_no_memory, f.newest, "has an impossible size of the map",
       put64(f.meta + 32, 1ULL << 60))
DAMAGE(a_map_shorter_than_the_file, f.newest, "has an impossible number of pages",
       put64(f.meta + 32, f.image.size / 2))
DAMAGE(a_last_page_that_is_a_meta, f.newest, "has an impossible number of pages",
       put64(f.meta + 136, 0))
DAMAGE(a_last_page_without_a_successor, f.newest, "has an impossible number of pages",
       put64(f.meta + 136, UINT64_MAX))
DAMAGE(a_last_page_far_behind_the_end, f.newest, "counts more pages than the file has", {
	put64(f.meta + 32, 1ULL << 40);
	put64(f.meta + 136, f.image.size / 4);
})
DAMAGE(a_last_page_behind_the_end, f.image.size / f.page_size, "is beyond the end of the file",
       put64(f.meta + 136, get64(f.meta + 136) + 1))
DAMAGE(a_last_page_before_pages_that_are_used, number(f.free_list), "refers to an impossible page",
       put64(f.meta + 136, get64(value(f.free_list, 1) + 8) - 1))

/* ---- Records of trees ---- */

DAMAGE(a_main_tree_with_duplicates, f.newest, "has a tree of an unknown kind",
       put16(f.record + 4, 4))
DAMAGE(a_main_tree_with_keys_in_reverse, f.newest, "has a tree of an unknown kind",
       put16(f.record + 4, 2))
DAMAGE(a_main_tree_with_keys_of_one_size, f.newest, "has a tree of an unknown kind",
       put32(f.record, 8))
DAMAGE(a_free_tree_without_integer_keys, f.newest, "has a tree of an unknown kind",
       put16(f.free_record + 4, 0))
DAMAGE(a_free_tree_with_duplicates, f.newest, "has a tree of an unknown kind",
       put16(f.free_record + 4, 0x0c))
DAMAGE(a_tree_deeper_than_LMDB_can_follow, f.newest, "has a tree whose depth is wrong",
       put16(f.record + 6, 33))
DAMAGE(a_tree_without_depth, f.newest, "has a tree whose depth is wrong", put16(f.record + 6, 0))
DAMAGE(a_tree_without_a_root, f.newest, "has a tree whose depth is wrong",
       put64(f.record + 40, UINT64_MAX))
DAMAGE(a_tree_that_is_deeper_than_it_says, number(f.root),
       "has the wrong type for its level in the tree", put16(f.record + 6, 1))
DAMAGE(a_tree_that_is_less_deep_than_it_says, number(f.first),
       "has the wrong type for its level in the tree", put16(f.record + 6, 3))
DAMAGE(a_wrong_count_of_branches, f.newest, "has a tree whose counts are wrong",
       put64(f.record + 8, 0))
DAMAGE(a_wrong_count_of_leaves, f.newest, "has a tree whose counts are wrong",
       put64(f.record + 16, 1))
DAMAGE(a_wrong_count_of_pages_in_runs, f.newest, "has a tree whose counts are wrong",
       put64(f.record + 24, get64(f.record + 24) - 1))
DAMAGE(a_wrong_count_of_entries, f.newest, "has a tree whose counts are wrong",
       put64(f.record + 32, get64(f.record + 32) + 1))
DAMAGE(a_wrong_count_of_free_lists, f.newest, "has a tree whose counts are wrong",
       put64(f.free_record + 32, 0))

/* ---- The pages of a tree ---- */

DAMAGE(a_root_that_is_a_meta, f.newest, "refers to an impossible page", put64(f.record + 40, 1))
DAMAGE(a_child_that_is_a_meta, number(f.root), "refers to an impossible page",
       put32(node(f.root, 1), 0))
DAMAGE(a_child_behind_the_last_page, number(f.root), "refers to an impossible page",
       put32(node(f.root, 1), get64(f.meta + 136) + 1))
DAMAGE(a_child_with_a_number_of_48_bits, number(f.root), "refers to an impossible page",
       put16(node(f.root, 1) + 4, 0x8000))
DAMAGE(a_child_that_is_its_own_parent, number(f.root), "is used twice, or is both used and free",
       put32(node(f.root, 1), number(f.root)))
DAMAGE(a_child_of_two_nodes, number(f.first), "is used twice, or is both used and free",
       put32(node(f.root, 1), number(f.first)))
DAMAGE(a_page_of_both_trees, number(f.free_list), "is used twice, or is both used and free",
       put32(node(f.root, 1), number(f.free_list)))
DAMAGE(a_free_page_in_the_tree, get64(value(f.free_list, 0) + 8),
       "is used twice, or is both used and free",
       put32(node(f.root, 1), get64(value(f.free_list, 0) + 8)))

/* ---- Headers of pages ---- */

DAMAGE(a_page_with_the_number_of_another, number(f.second), "has the number of another page",
       put64(f.second, number(f.first)))
DAMAGE(a_page_that_says_it_is_being_written, number(f.second),
       "has the wrong type for its level in the tree", put16(f.second + 10, 0x12))
DAMAGE(a_page_for_keys_of_one_size, number(f.second),
       "has the wrong type for its level in the tree", put16(f.second + 10, 0x22))
DAMAGE(a_page_inside_a_page, number(f.second), "has the wrong type for its level in the tree",
       put16(f.second + 10, 0x42))
DAMAGE(a_run_in_place_of_a_leaf, number(f.second), "has the wrong type for its level in the tree",
       put16(f.second + 10, 4))
DAMAGE(free_space_that_begins_in_the_header, number(f.second),
       "has impossible bounds of its free space", put16(f.second + 12, 14))
DAMAGE(free_space_that_begins_at_an_odd_place, number(f.second),
       "has impossible bounds of its free space", put16(f.second + 12, get16(f.second + 12) + 1))
DAMAGE(free_space_that_ends_at_an_odd_place, number(f.second),
       "has impossible bounds of its free space", put16(f.second + 14, get16(f.second + 14) + 1))
DAMAGE(free_space_that_ends_before_it_begins, number(f.second),
       "has impossible bounds of its free space", put16(f.second + 14, get16(f.second + 12) - 2))
DAMAGE(free_space_that_ends_behind_the_page, number(f.second),
       "has impossible bounds of its free space", put16(f.second + 14, f.page_size + 2))
DAMAGE(a_leaf_without_a_node, number(f.second), "has too few nodes", put16(f.second + 12, 16))
DAMAGE(a_branch_with_one_node, number(f.root), "has too few nodes", put16(f.root + 12, 18))

/* ---- Nodes ---- */

DAMAGE(a_node_at_an_odd_place, number(f.first), "has a node at an impossible place",
       put16(pointer(f.first, 1), get16(pointer(f.first, 1)) + 1))
DAMAGE(a_node_in_the_free_space, number(f.first), "has a node at an impossible place",
       put16(pointer(f.first, 1), get16(f.first + 14) - 2))
DAMAGE(a_node_whose_header_leaves_the_page, number(f.first), "has a node at an impossible place",
       put16(pointer(f.first, 1), f.page_size - 6))
DAMAGE(a_node_behind_the_page, number(f.first), "has a node at an impossible place",
       put16(pointer(f.first, 1), 0xfffe))
DAMAGE(an_empty_key, number(f.first), "has a key of an impossible size",
       put16(node(f.first, 1) + 6, 0))
DAMAGE(a_key_longer_than_keys_may_be, number(f.first), "has a key of an impossible size",
       put16(node(f.first, 1) + 6, 512))
DAMAGE(an_empty_key_in_a_branch, number(f.root), "has a key of an impossible size",
       put16(node(f.root, 1) + 6, 0))
DAMAGE(a_long_first_key_in_a_branch, number(f.root), "has a key of an impossible size",
       put16(node(f.root, 0) + 6, 512))
DAMAGE(a_value_that_is_a_database, number(f.first), "has a node with unknown flags",
       put16(node(f.first, 1) + 4, 2))
DAMAGE(a_value_that_is_a_page_of_duplicates, number(f.first), "has a node with unknown flags",
       put16(node(f.first, 1) + 4, 4))
DAMAGE(a_value_longer_than_half_of_a_page, number(f.first), "has a node of an impossible size",
       put32(node(f.first, 1), f.page_size / 2))
DAMAGE(a_value_of_four_gigabytes, number(f.first), "has a node of an impossible size",
       put32(node(f.first, 1), UINT32_MAX))
DAMAGE(two_pointers_to_a_node, number(f.first), "has two nodes at one place",
       put16(pointer(f.first, 1), get16(pointer(f.first, 2))))
DAMAGE(a_node_that_reaches_into_the_next, number(f.first), "has nodes that overlap or leave a gap",
       put16(node(f.first, 1) + 6, get16(node(f.first, 1) + 6) + 4))
DAMAGE(a_node_that_is_too_short, number(f.first), "has nodes that overlap or leave a gap",
       put16(node(f.first, 1) + 6, get16(node(f.first, 1) + 6) - 4))
DAMAGE(a_gap_before_the_nodes, number(f.first), "has nodes that overlap or leave a gap",
       put16(f.first + 14, get16(f.first + 14) - 2))
DAMAGE(a_pointer_that_is_missing, number(f.first), "has nodes that overlap or leave a gap",
       put16(f.first + 12, get16(f.first + 12) - 2))

/* The node that the page ends with. */
static uint8_t *end_node(uint8_t *page) {
	uint8_t *end = node(page, 0);
	for (size_t i = 1; i < nodes(page); i++)
		end = node(page, i) > end ? node(page, i) : end;
	return end;
}

DAMAGE(a_node_that_leaves_the_page, number(f.first), "has nodes that overlap or leave a gap",
       put16(end_node(f.first) + 6, 511))
DAMAGE(a_gap_behind_the_nodes, number(f.first), "has nodes that overlap or leave a gap",
       put16(end_node(f.first) + 6, LMDB_KEY_SIZE - 4))

/* One that a look at the ends of the nodes alone does not show. */
static void nest_a_node(struct fixture *f) {
	uint8_t *inner = node(f->first, 1) + 100;
	put64(inner, 0);
	put16(inner + 6, 50);
	put16(f->first + 12, get16(f->first + 12) + 2);
	put16(pointer(f->first, nodes(f->first) - 1), (uint64_t)(inner - f->first));
}

DAMAGE(a_node_inside_a_node, number(f.first), "has nodes that overlap or leave a gap",
       nest_a_node(&f))

/* ---- The order of keys ---- */

static void swap_pointers(uint8_t *page, size_t a, size_t b) {
	const uint16_t was = get16(pointer(page, a));
	put16(pointer(page, a), get16(pointer(page, b)));
	put16(pointer(page, b), was);
}

DAMAGE(keys_out_of_order, number(f.second), "has keys out of order", swap_pointers(f.second, 0, 1))
DAMAGE(a_key_twice, number(f.second), "has keys out of order",
       memcpy(key(f.second, 1), key(f.second, 0), LMDB_KEY_SIZE))
DAMAGE(a_key_that_belongs_further_left, number(f.second), "has keys out of order",
       memcpy(key(f.second, 0), "aaa", 3))
DAMAGE(a_key_that_belongs_further_right, number(f.first), "has keys that belong in another page",
       key(f.first, nodes(f.first) - 1)[0] = 'z')
DAMAGE(a_key_that_the_next_page_begins_with, number(f.first),
       "has keys that belong in another page",
       memcpy(key(f.first, nodes(f.first) - 1), key(f.root, 1), LMDB_KEY_SIZE))
DAMAGE(a_branch_with_keys_out_of_order, number(f.second), "has keys that belong in another page",
       memcpy(key(f.root, 2), "aaa", 3))
DAMAGE(a_branch_with_two_nodes_swapped, child(f.root, 2), "has keys that belong in another page",
       swap_pointers(f.root, 1, 2))

/* ---- Runs ---- */

DAMAGE(a_run_with_the_number_of_another_page, number(f.run), "is not the first page of a run",
       put64(f.run, number(f.run) + 1))
DAMAGE(a_run_that_says_it_is_a_leaf, number(f.run), "is not the first page of a run",
       put16(f.run + 10, 2))
DAMAGE(a_run_that_says_it_is_being_written, number(f.run), "is not the first page of a run",
       put16(f.run + 10, 0x14))
DAMAGE(a_run_shorter_than_its_value, number(f.run), "is a run of pages of the wrong length",
       put32(f.run + 12, 9000 / f.page_size))
DAMAGE(a_run_longer_than_any_value, number(f.run), "is a run of pages of the wrong length",
       put32(f.run + 12, UINT32_MAX))
DAMAGE(a_run_that_reaches_into_the_next_page, number(f.run) + get64(f.run + 8) / (1ULL << 32),
       "is used twice, or is both used and free",
       put32(f.run + 12, get64(f.run + 8) / (1ULL << 32) + 1))

/* The last page of the file is free; it gets a run of as many pages as there were before. */
static void move_run_to_the_end(struct fixture *f) {
	const uint64_t last = get64(f->meta + 136);
	memcpy(page(f, last), f->run, 16);
	put64(page(f, last), last);
	put64(value(f->first, long_node(f->first)), last);
	put64(value(f->free_list, 1), 0);
}

DAMAGE(a_run_that_leaves_the_file, get64(f.meta + 136), "refers to an impossible page",
       move_run_to_the_end(&f))
DAMAGE(a_value_longer_than_its_run, number(f.run), "is a run of pages of the wrong length",
       put32(node(f.first, long_node(f.first)), UINT32_MAX))
DAMAGE(a_run_that_is_no_page, number(f.first), "refers to an impossible page",
       put64(value(f.first, long_node(f.first)), 1ULL << 40))
DAMAGE(a_run_that_is_a_page_of_the_tree, number(f.first), "is used twice, or is both used and free",
       put64(value(f.first, long_node(f.first)), number(f.first)))

/* ---- Free lists ---- */

DAMAGE(a_free_list_of_too_many_pages, number(f.free_list), "has a free list whose count is wrong",
       put64(value(f.free_list, 0), get64(value(f.free_list, 0)) + 1))
DAMAGE(a_free_list_of_too_few_pages, number(f.free_list), "has a free list whose count is wrong",
       put64(value(f.free_list, 0), get64(value(f.free_list, 0)) - 1))
DAMAGE(a_meta_on_the_free_list, number(f.free_list), "refers to an impossible page",
       put64(value(f.free_list, 0) + 8 * get64(value(f.free_list, 0)), 1))
DAMAGE(a_page_behind_the_last_on_the_free_list, number(f.free_list), "refers to an impossible page",
       put64(value(f.free_list, 0) + 8, get64(f.meta + 136) + 1))
DAMAGE(a_free_list_out_of_order, number(f.free_list), "has a free list out of order",
       put64(value(f.free_list, 0) + 8, get64(value(f.free_list, 0) + 16) - 1))
DAMAGE(a_page_twice_on_a_free_list, number(f.free_list), "has a free list out of order",
       put64(value(f.free_list, 0) + 8, get64(value(f.free_list, 0) + 16)))
DAMAGE(a_page_on_two_free_lists, get64(value(f.free_list, 1) + 8),
       "is used twice, or is both used and free",
       put64(value(f.free_list, 0) + 8, get64(value(f.free_list, 1) + 8)))
DAMAGE(the_free_tree_on_its_own_list, number(f.free_list),
       "is used twice, or is both used and free", {
	       const uint64_t size = get64(value(f.free_list, 0));
	       put64(value(f.free_list, 0) + 8 * size, number(f.free_list));
       })
DAMAGE(a_page_of_the_tree_on_the_free_list, number(f.root),
       "is used twice, or is both used and free",
       put64(value(f.free_list, 0) + 8 * get64(value(f.free_list, 0)), number(f.root)))
DAMAGE(a_free_list_of_no_transaction, number(f.free_list),
       "has a free list of an impossible transaction", put64(key(f.free_list, 0), 0))
DAMAGE(a_free_list_of_a_transaction_to_come, number(f.free_list),
       "has a free list of an impossible transaction",
       put64(key(f.free_list, nodes(f.free_list) - 1), SAMPLE_TXNS + 1))
DAMAGE(free_lists_out_of_order, number(f.free_list), "has keys out of order",
       put64(key(f.free_list, 1), 1))
DAMAGE(a_free_list_whose_key_is_no_number, number(f.free_list), "has a key of an impossible size",
       put16(node(f.free_list, 1) + 6, 7))

static void resize_first_list(struct fixture *f, uint32_t by) {
	uint8_t *first = node(f->free_list, 0);
	const size_t offset = get16(pointer(f->free_list, 0));
	const size_t upper = get16(f->free_list + 14);
	put32(first, get64(value(f->free_list, 0)) * 8 + 8 - by);
	memmove(f->free_list + upper + by, f->free_list + upper, offset - upper + 16);
	for (size_t i = 0; i < nodes(f->free_list); i++) {
		if (get16(pointer(f->free_list, i)) <= offset)
			put16(pointer(f->free_list, i), get16(pointer(f->free_list, i)) + by);
	}
	put16(f->free_list + 14, upper + by);
}

DAMAGE(a_free_list_that_ends_inside_a_number, number(f.free_list),
       "has a free list of an impossible size", resize_first_list(&f, 2))
DAMAGE(a_free_list_without_a_count, number(f.free_list), "has a free list of an impossible size",
       resize_first_list(&f, (uint32_t)get64(value(f.free_list, 0)) * 8 + 8))

/* ---- Valid files ---- */

TEST(a_lost_page_is_counted_and_does_no_harm) {
	struct fixture f;
	setup(&f);
	put64(value(f.free_list, 1), 0); /* as LMDB leaves a list that it reserved in vain */
	struct pn_lmdb_report report;
	const int fd = file_of(&f.image);
	CHECK(pn_lmdb_verify(fd, &report) == PN_OK);
	CHECK(report.pages - report.used - report.free_pages == 6);
	const int copy = file_new();
	MDB_env *env = lmdb_open(fd);
	CHECK(mdb_env_copyfd2(env, copy, MDB_CP_COMPACT) == MDB_INCOMPATIBLE);
	mdb_env_close(env);
	close(copy);
	const char *failed = lmdb_use(fd, &report);
	CHECK_STR(failed != NULL ? failed : "", "");
	close(fd);
	image_free(&f.image);
}

TEST(the_older_meta_may_be_of_any_earlier_transaction) {
	struct fixture f;
	setup(&f);
	uint8_t *older = page(&f, 1 - f.newest);
	put64(older + 144, get64(older + 144) - 2);
	memset(older + 44, 0xff, 100);
	put64(older + 32, 0);
	check(&f, PN_OK);
}

int main(void) {
	return test_run("lmdb_file damage");
}
