/* safetensors files: values go round, and hostile files are refused with a message. */
#include "scratch.h"

#include "base/random.h"
#include "base/safetensors.h"
#include <math.h>

/* A file of a header and `data_size` bytes of data that count up. length: what the first eight bytes say. */
static void put_with_length(const char *path, uint64_t length, const char *header, size_t header_size, size_t data_size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 8; i++) fputc((int)(length >> (8 * i) & 0xff), file);
    assert_int_equal(fwrite(header, 1, header_size, file), header_size);
    for (size_t i = 0; i < data_size; i++) fputc((int)(i & 0xff), file);
    assert_int_equal(fclose(file), 0);
}

static slad_status open_text(scratch *own, const char *header, size_t header_size, size_t data_size)
{
    const char *path = scratch_path(own, "a.safetensors");
    slad_safetensors *file = NULL;
    put_with_length(path, header_size, header, header_size, data_size);
    const slad_status status = slad_safetensors_open(own->context, &file, path);
    assert_true((status == SLAD_OK) == (file != NULL));
    if (status != SLAD_OK) assert_message(own, path);
    slad_safetensors_close(file);
    return status;
}

#define A_F32(shape, begin, end) "\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"
#define B_F32(shape, begin, end) "\"b\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void legal_files_are_opened(void **state)
{
    static const struct {
        const char *header;
        size_t data_size;
    } files[] = {
        {"{}", 0},
        {"{}      ", 0},
        {"{\"__metadata__\":{}}", 0},
        {"{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\"}," A_F32("[2,3]", 0, 24) "}", 24},
        {"{" A_F32("[]", 0, 4) "}", 4},
        {"{" A_F32("[0]", 0, 0) "}", 0},
        {"{" A_F32("[4,0,1000000]", 0, 0) "," B_F32("[1]", 0, 4) "}", 4},
        {"{" A_F32("[1]", 4, 8) "," B_F32("[1]", 0, 4) "}", 8}, /* keys need not follow the data */
        {"{\"a\":{\"data_offsets\":[0,3],\"shape\":[3],\"dtype\":\"U8\"}," B_F32("[1]", 3, 7) "}", 7}, /* not aligned */
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[6],\"data_offsets\":[0,3]}}", 3},
        {"{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[0,3]}}", 3},
        {"{\"\":{\"dtype\":\"F16\",\"shape\":[1,1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,4]}}", 4},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (open_text(*state, files[i].header, strlen(files[i].header), files[i].data_size) != SLAD_OK)
            fail_msg("refused: %s: %s", files[i].header, slad_context_message(((scratch *)*state)->context));
    }
}

static void hostile_headers_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t data_size;
        const char *message;
    } files[] = {
        {"", 0, "'{'"},
        {"[]", 0, "'{'"},
        {" {}", 0, "'{'"},
        {"{}\n", 0, "'}'"},
        {"{", 0, "'}'"},
        {"{}{}", 0, "behind"},
        {"{\"a\":1}", 0, "\"a\""},
        {"{\"a\":[]}", 0, "\"a\""},
        {"{\"a\":{}}", 0, "\"dtype\""},
        {"{" A_F32("[1]", 0, 4) "," A_F32("[1]", 0, 4) "}", 4, "stands twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "stands twice"},
        {"{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "UTF-8"},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "F31"},
        {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "\"dtype\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "\"shape\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "\"shape\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "\"data_offsets\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "\"data_offsets\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{\"0\":0,\"1\":4}}}", 4, "\"data_offsets\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", 4, "\"data_offsets\""},
        {"{" A_F32("[-1]", 0, 4) "}", 4, "row of digits"},
        {"{" A_F32("[1.0]", 0, 4) "}", 4, "row of digits"},
        {"{" A_F32("[1]", 0, 4e0) "}", 4, "row of digits"},
        {"{" A_F32("[1]", 4, 0) "}", 4, "not larger"},
        {"{" A_F32("[1]", 0, 8) "}", 8, "8 bytes"},
        {"{" A_F32("[2]", 0, 4) "}", 4, "4 bytes"},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "another number"},
        {"{" A_F32("[4294967296,4294967296]", 0, 4) "}", 4, "can be counted"},
        {"{" A_F32("[4294967296,4294967296,0]", 0, 0) "}", 0, "can be counted"},
        {"{" A_F32("[4294967296,1073741824]", 0, 0) "}", 0, "another number"}, /* 2^64 bytes wrap to 0 */
        {"{" A_F32("[9007199254740992]", 0, 4) "}", 4, "below 2^53"},
        {"{" A_F32("[99999999999999999999999]", 0, 4) "}", 4, "below 2^53"},
        {"{" A_F32("[1]", 0, 4) "," B_F32("[1]", 0, 4) "}", 4, "overlaps"},
        {"{" A_F32("[2]", 0, 8) "," B_F32("[2]", 4, 12) "}", 12, "overlaps"},
        {"{" A_F32("[1]", 0, 4) "," B_F32("[1]", 8, 12) "}", 12, "hole"},
        {"{" A_F32("[1]", 4, 8) "}", 8, "hole"},
        {"{" A_F32("[0]", 4, 4) "}", 4, "hole"},
        {"{" A_F32("[1]", 0, 4) "}", 5, "belong to nothing"},
        {"{}", 1, "belong to nothing"},
        {"{" A_F32("[1]", 0, 4) "}", 3, "truncated"},
        {"{" A_F32("[1000000]", 0, 4000000) "}", 3, "truncated"},
        {"{\"__metadata__\":[]}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"x\":1}}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"x\":\"1\",\"x\":\"2\"}}", 0, "stands twice"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *header = files[i].header;
        if (open_text(*state, header, strlen(header), files[i].data_size) != SLAD_ERROR_DATA)
            fail_msg("accepted: %s", header);
        assert_message(*state, files[i].message);
    }
    static const char with_nul[] = "{\"a\0\":{}}";
    assert_int_equal(open_text(*state, with_nul, sizeof with_nul - 1, 0), SLAD_ERROR_DATA);
}

static void wrong_header_lengths_are_refused(void **state)
{
    scratch *own = *state;
    const char *path = scratch_path(own, "a.safetensors");
    static const uint64_t lengths[] = {3, 4, 100, 100000000, 100000001, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};
    slad_safetensors *file = NULL;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        put_with_length(path, lengths[i], "{}", 2, 0);
        assert_int_equal(slad_safetensors_open(own->context, &file, path), SLAD_ERROR_DATA);
        assert_message(own, path);
        assert_null(file);
    }
    for (size_t size = 0; size < 8; size++) {
        FILE *stream = fopen(path, "wb");
        assert_non_null(stream);
        assert_int_equal(fwrite("\2\0\0\0\0\0\0", 1, size, stream), size);
        assert_int_equal(fclose(stream), 0);
        assert_int_equal(slad_safetensors_open(own->context, &file, path), SLAD_ERROR_DATA);
    }
    assert_int_equal(slad_safetensors_open(own->context, &file, scratch_path(own, "none")), SLAD_ERROR_DATA);
    assert_int_equal(slad_safetensors_open(own->context, &file, own->folder), SLAD_ERROR_DATA);
    slad_safetensors_close(NULL);
}

enum { ROWS = 37, COLUMNS = 1001 };

/* Writes w [ROWS, COLUMNS] F32, a scalar, an empty tensor and three I64 labels. */
static const char *write_sample(scratch *own, float *w)
{
    slad_random random = slad_random_start(1, SLAD_RANDOM_VERIFY, 0, 0);
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) w[i] = slad_random_normal(&random);
    static const float scalar = 2.5f;
    static const int64_t labels[3] = {0, 41, -7};
    static const uint64_t shape[2] = {ROWS, COLUMNS}, none[1] = {0}, three[1] = {3};
    const slad_safetensors_entry entries[] = {
        {"w", SLAD_SAFETENSORS_F32, 2, shape, w},
        {"scalar", SLAD_SAFETENSORS_F32, 0, NULL, &scalar},
        {"labels", SLAD_SAFETENSORS_I64, 1, three, labels},
        {"empty \"\xc3\xa9\"", SLAD_SAFETENSORS_F32, 1, none, NULL},
    };
    const slad_safetensors_pair metadata[] = {{"num_classes", "42"}};
    const char *path = scratch_path(own, "sample.safetensors");
    assert_int_equal(slad_safetensors_write(own->context, path, entries, 4, metadata, 1), SLAD_OK);
    return path;
}

static void written_files_read_back(void **state)
{
    scratch *own = *state;
    float *w = malloc(sizeof(float) * ROWS * COLUMNS);
    assert_non_null(w);
    slad_safetensors *file = NULL;
    assert_int_equal(slad_safetensors_open(own->context, &file, write_sample(own, w)), SLAD_OK);
    assert_int_equal(slad_safetensors_count(file), 4);
    static const char *const names[] = {"empty \"\xc3\xa9\"", "labels", "scalar", "w"};
    for (size_t i = 0; i < 4; i++) {
        const slad_safetensor *tensor = slad_safetensors_at(file, i);
        assert_string_equal(tensor->name, names[i]);
        assert_ptr_equal(slad_safetensors_find(file, names[i]), tensor);
        /* The start of the data and each tensor's own size agree on its alignment. */
        assert_int_equal(tensor->offset % (tensor->type == SLAD_SAFETENSORS_I64 ? 8 : 4), 0);
    }
    assert_null(slad_safetensors_find(file, "W"));
    assert_string_equal(slad_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(slad_safetensors_metadata(file, "num_classes"), "42");
    assert_null(slad_safetensors_metadata(file, "none"));

    const slad_safetensor *tensor = slad_safetensors_find(file, "w");
    assert_int_equal(tensor->rank, 2);
    assert_int_equal(tensor->shape[0], ROWS);
    assert_int_equal(tensor->shape[1], COLUMNS);
    assert_int_equal(tensor->elements, ROWS * COLUMNS);
    assert_int_equal(tensor->bytes, 4 * ROWS * COLUMNS);
    assert_string_equal(tensor->type_name, "F32");
    float *back = malloc(sizeof(float) * (ROWS * COLUMNS + 1));
    assert_non_null(back);
    back[ROWS * COLUMNS] = 77.0f;
    assert_int_equal(slad_safetensors_read_float(own->context, back, file, tensor, 0, tensor->elements), SLAD_OK);
    assert_memory_equal(back, w, sizeof(float) * ROWS * COLUMNS);
    assert_true(back[ROWS * COLUMNS] == 77.0f);
    back[COLUMNS] = 77.0f;
    assert_int_equal(slad_safetensors_read_float(own->context, back, file, tensor, 5 * COLUMNS, COLUMNS), SLAD_OK);
    assert_memory_equal(back, w + (size_t)5 * COLUMNS, sizeof(float) * COLUMNS);
    assert_true(back[COLUMNS] == 77.0f);
    assert_int_equal(slad_safetensors_read_float(own->context, back, file, tensor, tensor->elements, 0), SLAD_OK);
    assert_int_equal(slad_safetensors_read_float(own->context, back, file, tensor, tensor->elements, 1),
                     SLAD_ERROR_DATA);
    assert_message(own, "\"w\"");
    assert_int_equal(slad_safetensors_read_float(own->context, back, file, tensor, 1, UINT64_MAX), SLAD_ERROR_DATA);
    free(back);
    slad_safetensors_close(file);
    free(w);
}

static void labels_are_checked(void **state)
{
    scratch *own = *state;
    float *w = malloc(sizeof(float) * ROWS * COLUMNS);
    assert_non_null(w);
    slad_safetensors *file = NULL;
    assert_int_equal(slad_safetensors_open(own->context, &file, write_sample(own, w)), SLAD_OK);
    const slad_safetensor *labels = slad_safetensors_find(file, "labels");
    int32_t values[4] = {9, 9, 9, 9};
    assert_int_equal(slad_safetensors_read_int32(own->context, values, file, labels, 0, 3, -7, 41), SLAD_OK);
    assert_true(values[0] == 0 && values[1] == 41 && values[2] == -7 && values[3] == 9);
    assert_int_equal(slad_safetensors_read_int32(own->context, values, file, labels, 1, 1, 0, 41), SLAD_OK);
    assert_int_equal(values[0], 41);
    assert_int_equal(slad_safetensors_read_int32(own->context, values, file, labels, 0, 3, 0, 41), SLAD_ERROR_DATA);
    assert_message(own, "element 2 is -7");
    assert_int_equal(slad_safetensors_read_int32(own->context, values, file, labels, 0, 3, -7, 40), SLAD_ERROR_DATA);
    assert_message(own, "element 1 is 41");
    assert_int_equal(slad_safetensors_read_float(own->context, w, file, labels, 0, 3), SLAD_ERROR_DATA);
    assert_message(own, "I64");
    const slad_safetensor *scalar = slad_safetensors_find(file, "scalar");
    assert_int_equal(slad_safetensors_read_int32(own->context, values, file, scalar, 0, 1, 0, 9), SLAD_ERROR_DATA);
    slad_safetensors_close(file);
    free(w);
}

static void large_labels_do_not_wrap(void **state)
{
    scratch *own = *state;
    static const int64_t values[2] = {((int64_t)1 << 32) + 1, INT64_MIN};
    static const uint64_t shape[1] = {2};
    const slad_safetensors_entry entry = {"labels", SLAD_SAFETENSORS_I64, 1, shape, values};
    const char *path = scratch_path(own, "labels.safetensors");
    assert_int_equal(slad_safetensors_write(own->context, path, &entry, 1, NULL, 0), SLAD_OK);
    slad_safetensors *file = NULL;
    assert_int_equal(slad_safetensors_open(own->context, &file, path), SLAD_OK);
    int32_t back[2];
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(slad_safetensors_read_int32(own->context, back, file, slad_safetensors_at(file, 0), i, 1,
                                                     INT32_MIN, INT32_MAX),
                         SLAD_ERROR_DATA);
    }
    slad_safetensors_close(file);
}

/* Writes raw little-endian words of a type and opens the file. */
static slad_safetensors *put_words(scratch *own, const char *type, size_t size, const uint32_t *words, size_t count)
{
    char header[256];
    const char *path = scratch_path(own, "words.safetensors");
    const int length =
        snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", type,
                 count, count * size);
    put_with_length(path, (uint64_t)length, header, (size_t)length, 0);
    FILE *stream = fopen(path, "ab");
    assert_non_null(stream);
    for (size_t i = 0; i < count; i++) {
        for (size_t byte = 0; byte < size; byte++) fputc((int)(words[i] >> (8 * byte) & 0xff), stream);
    }
    assert_int_equal(fclose(stream), 0);
    slad_safetensors *file = NULL;
    assert_int_equal(slad_safetensors_open(own->context, &file, path), SLAD_OK);
    return file;
}

/* Every half and bfloat16 there is, against their definitions in double. */
static void short_floats_are_converted_exactly(void **state)
{
    scratch *own = *state;
    enum { COUNT = 1 << 16 };
    uint32_t *words = malloc(sizeof(uint32_t) * COUNT);
    float *values = malloc(sizeof(float) * COUNT);
    assert_true(words && values);
    for (uint32_t i = 0; i < COUNT; i++) words[i] = i;
    for (int brain = 0; brain < 2; brain++) {
        slad_safetensors *file = put_words(own, brain ? "BF16" : "F16", 2, words, COUNT);
        const slad_safetensor *tensor = slad_safetensors_at(file, 0);
        assert_int_equal(slad_safetensors_read_float(own->context, values, file, tensor, 0, COUNT), SLAD_OK);
        const int mantissa_bits = brain ? 7 : 10, bias = brain ? 127 : 15;
        const uint32_t top = brain ? 255 : 31;
        for (uint32_t i = 0; i < COUNT; i++) {
            const uint32_t exponent = (i & 0x7fff) >> mantissa_bits, mantissa = i & ((1u << mantissa_bits) - 1);
            const double fraction = ldexp((double)mantissa, -mantissa_bits);
            double expected = exponent == 0 ? ldexp(fraction, 1 - bias) : ldexp(1 + fraction, (int)exponent - bias);
            if (exponent == top) expected = INFINITY;
            if (exponent == top && mantissa != 0) {
                assert_true(isnan(values[i]));
                continue;
            }
            assert_true((double)values[i] == (i & 0x8000 ? -expected : expected));
            assert_int_equal(!!signbit(values[i]), i >> 15);
        }
        slad_safetensors_close(file);
    }
    static const uint32_t whole[] = {0, 7, 0xfffffff9u};
    slad_safetensors *file = put_words(own, "I32", 4, whole, 3);
    int32_t back[3];
    assert_int_equal(slad_safetensors_read_int32(own->context, back, file, slad_safetensors_at(file, 0), 0, 3, -7, 7),
                     SLAD_OK);
    assert_true(back[0] == 0 && back[1] == 7 && back[2] == -7);
    slad_safetensors_close(file);
    free(values);
    free(words);
}

static void writer_refuses_what_was_not_announced(void **state)
{
    scratch *own = *state;
    static const uint64_t two[1] = {2};
    static const float values[3] = {1, 2, 3};
    const slad_safetensors_entry entries[] = {{"b", SLAD_SAFETENSORS_F32, 1, two, NULL},
                                              {"a", SLAD_SAFETENSORS_F32, 1, two, NULL},
                                              {"c", SLAD_SAFETENSORS_I64, 1, two, NULL}};
    const char *path = scratch_path(own, "a.safetensors");
    slad_safetensors_writer *writer = NULL;
    assert_int_equal(slad_safetensors_writer_begin(own->context, &writer, path, entries, 3, NULL, 0), SLAD_OK);
    assert_int_equal(slad_safetensors_writer_order(writer, 0), 2);
    assert_int_equal(slad_safetensors_writer_order(writer, 1), 1);
    assert_int_equal(slad_safetensors_writer_order(writer, 2), 0);
    assert_int_equal(slad_safetensors_writer_append(writer, 1, values, 2), SLAD_ERROR_INTERNAL);
    assert_message(own, "\"c\"");
    static const int64_t labels[2] = {1, 2};
    assert_int_equal(slad_safetensors_writer_append(writer, 2, labels, 1), SLAD_OK);
    assert_int_equal(slad_safetensors_writer_append(writer, 2, labels, 2), SLAD_ERROR_INTERNAL);
    assert_int_equal(slad_safetensors_writer_append(writer, 2, labels + 1, 1), SLAD_OK);
    assert_int_equal(slad_safetensors_writer_append(writer, 1, values, 2), SLAD_OK);
    assert_int_equal(slad_safetensors_writer_append(writer, 0, values, 1), SLAD_OK);
    assert_int_equal(slad_safetensors_writer_finish(writer), SLAD_ERROR_INTERNAL);
    assert_message(own, "\"b\"");
    slad_directory directory;
    assert_int_equal(slad_directory_read(own->context, &directory, own->folder), SLAD_OK);
    assert_int_equal(directory.count, 0);
    slad_directory_free(&directory);

    const slad_safetensors_entry twice[] = {entries[0], entries[0]};
    assert_int_equal(slad_safetensors_writer_begin(own->context, &writer, path, twice, 2, NULL, 0),
                     SLAD_ERROR_INTERNAL);
    const slad_safetensors_entry half = {"h", SLAD_SAFETENSORS_F16, 1, two, NULL};
    assert_int_equal(slad_safetensors_writer_begin(own->context, &writer, path, &half, 1, NULL, 0),
                     SLAD_ERROR_INTERNAL);
    assert_int_equal(slad_safetensors_write(own->context, scratch_path(own, "no/a"), NULL, 0, NULL, 0),
                     SLAD_ERROR_WRITE);
    assert_null(writer);
}

/* Rows of two tensors, given in turn and out of order, end up where append would have put them. */
static void tensors_can_grow_side_by_side(void **state)
{
    scratch *own = *state;
    enum { SIDE_ROWS = 50, WIDTH = 700 };
    float *values = malloc(sizeof(float) * SIDE_ROWS * WIDTH);
    assert_non_null(values);
    for (size_t i = 0; i < (size_t)SIDE_ROWS * WIDTH; i++) values[i] = (float)i;
    static const uint64_t wide[2] = {SIDE_ROWS, WIDTH}, narrow[1] = {SIDE_ROWS};
    const slad_safetensors_entry entries[] = {{"wide", SLAD_SAFETENSORS_F32, 2, wide, values},
                                              {"narrow", SLAD_SAFETENSORS_F32, 1, narrow, values}};
    char expected[1024];
    (void)snprintf(expected, sizeof expected, "%s", scratch_path(own, "appended.safetensors"));
    assert_int_equal(slad_safetensors_write(own->context, expected, entries, 2, NULL, 0), SLAD_OK);

    slad_safetensors_writer *writer = NULL;
    const char *path = scratch_path(own, "put.safetensors");
    assert_int_equal(slad_safetensors_writer_begin(own->context, &writer, path, entries, 2, NULL, 0), SLAD_OK);
    for (size_t row = SIDE_ROWS; row-- > 0;) {
        const float *start = values + row * WIDTH;
        assert_int_equal(slad_safetensors_writer_put(writer, 0, row * WIDTH, start, WIDTH), SLAD_OK);
        assert_int_equal(slad_safetensors_writer_put(writer, 1, row, values + row, 1), SLAD_OK);
    }
    assert_int_equal(slad_safetensors_writer_put(writer, 1, SIDE_ROWS, values, 1), SLAD_ERROR_INTERNAL);
    assert_int_equal(slad_safetensors_writer_finish(writer), SLAD_OK);
    char *first = NULL, *second = NULL;
    size_t first_size = 0, second_size = 0;
    assert_int_equal(slad_file_read_all(own->context, &first, &first_size, expected, 1 << 20), SLAD_OK);
    assert_int_equal(slad_file_read_all(own->context, &second, &second_size, path, 1 << 20), SLAD_OK);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    slad_release(first);
    slad_release(second);

    assert_int_equal(slad_safetensors_writer_begin(own->context, &writer, path, entries, 2, NULL, 0), SLAD_OK);
    assert_int_equal(slad_safetensors_writer_put(writer, 1, 0, values, SIDE_ROWS), SLAD_OK);
    assert_int_equal(slad_safetensors_writer_finish(writer), SLAD_ERROR_INTERNAL);
    free(values);
}

static void shapes_are_shown(void **state)
{
    (void)state;
    static const uint64_t shape[3] = {2, 30, UINT64_MAX};
    char text[64];
    slad_safetensors_shape_text(text, sizeof text, shape, 3);
    assert_string_equal(text, "[2, 30, 18446744073709551615]");
    slad_safetensors_shape_text(text, sizeof text, shape, 0);
    assert_string_equal(text, "[]");
    slad_safetensors_shape_text(text, 12, shape, 3);
    assert_string_equal(text, "[2, 30...]");
}

/* With each allocation made to fail in turn, opening and writing say so and leak nothing. */
static void no_memory_is_reported(void **state)
{
    scratch *own = *state;
    float *w = malloc(sizeof(float) * ROWS * COLUMNS);
    assert_non_null(w);
    const char *path = write_sample(own, w);
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_safetensors *file = NULL;
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_safetensors_open(own->context, &file, path);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_safetensors_close(file);
        assert_true(countdown < 100);
    }
    static const uint64_t shape[2] = {ROWS, COLUMNS};
    const slad_safetensors_entry entry = {"w", SLAD_SAFETENSORS_F32, 2, shape, w};
    struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_safetensors_write(own->context, path, &entry, 1, NULL, 0);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        assert_true(countdown < 100);
    }
    free(w);
}

/* Changes a few bytes: random ones, or digits and punctuation where they hurt most. */
static void mutate(unsigned char *bytes, size_t *size, slad_random *random)
{
    static const char pool[] = "0123456789{}[]\",:.-eE \\u\xff";
    const uint32_t changes = 1 + slad_random_below(random, 4);
    for (uint32_t i = 0; i < changes; i++) {
        const size_t at = slad_random_below(random, (uint32_t)*size);
        switch (slad_random_below(random, 5)) {
        case 0:
            bytes[at] = (unsigned char)slad_random_u32(random);
            break;
        case 1:
            bytes[at] = (unsigned char)pool[slad_random_below(random, sizeof pool - 1)];
            break;
        case 2:
            bytes[at] ^= (unsigned char)(1u << slad_random_below(random, 8));
            break;
        case 3:
            if (*size > 9 && slad_random_below(random, 4) == 0) *size -= slad_random_below(random, 8);
            break;
        default: /* repeat a stretch over another */
            bytes[at] = bytes[slad_random_below(random, (uint32_t)*size)];
            break;
        }
    }
}

/* Reads all that a file offers, so that a wrong size or offset that was believed shows under the sanitizers. */
static void read_all(scratch *own, slad_safetensors *file, uint64_t file_size)
{
    for (size_t i = 0; i < slad_safetensors_count(file); i++) {
        const slad_safetensor *tensor = slad_safetensors_at(file, i);
        assert_true(tensor->offset <= file_size && tensor->bytes <= file_size - tensor->offset);
        if (tensor->type != SLAD_SAFETENSORS_OTHER) assert_true(tensor->elements <= tensor->bytes);
        float *values = malloc((size_t)tensor->elements * 4 + 1);
        assert_non_null(values);
        const slad_status status = slad_safetensors_read_float(own->context, values, file, tensor, 0, tensor->elements);
        assert_true(status == SLAD_OK || status == SLAD_ERROR_DATA);
        (void)slad_safetensors_read_int32(own->context, (int32_t *)values, file, tensor, 0, tensor->elements, INT32_MIN,
                                          INT32_MAX);
        free(values);
    }
}

static void mutated_files_never_crash(void **state)
{
    scratch *own = *state;
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"alpha\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"beta\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]},\"gamma\":{\"dtype\":\"I64\",\"shape\":[1]"
        ","
        "\"data_offsets\":[32,40]},\"delta\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[40,41]}}   ";
    enum { MUTATIONS = 3000, DATA = 41, SIZE = 8 + sizeof header - 1 + DATA };
    const char *path = scratch_path(own, "fuzz.safetensors");
    unsigned opened = 0, refused = 0;
    for (uint32_t round = 0; round < MUTATIONS; round++) {
        unsigned char bytes[SIZE] = {0};
        size_t size = SIZE;
        bytes[0] = (sizeof header - 1) & 0xff;
        bytes[1] = (sizeof header - 1) >> 8;
        memcpy(bytes + 8, header, sizeof header - 1);
        slad_random random = slad_random_start(2, SLAD_RANDOM_VERIFY, round, 0);
        mutate(bytes, &size, &random);
        FILE *stream = fopen(path, "wb");
        assert_non_null(stream);
        assert_int_equal(fwrite(bytes, 1, size, stream), size);
        assert_int_equal(fclose(stream), 0);
        slad_safetensors *file = NULL;
        const slad_status status = slad_safetensors_open(own->context, &file, path);
        assert_true(status == SLAD_OK || status == SLAD_ERROR_DATA);
        if (status == SLAD_OK) read_all(own, file, size);
        opened += status == SLAD_OK;
        refused += status != SLAD_OK;
        slad_safetensors_close(file);
    }
    /* Both ways must have been gone, or the mutations would prove nothing. */
    assert_true(opened > MUTATIONS / 50);
    assert_true(refused > MUTATIONS / 4);
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(legal_files_are_opened),
        WITH_SCRATCH(hostile_headers_are_refused),
        WITH_SCRATCH(wrong_header_lengths_are_refused),
        WITH_SCRATCH(written_files_read_back),
        WITH_SCRATCH(labels_are_checked),
        WITH_SCRATCH(large_labels_do_not_wrap),
        WITH_SCRATCH(short_floats_are_converted_exactly),
        WITH_SCRATCH(writer_refuses_what_was_not_announced),
        WITH_SCRATCH(tensors_can_grow_side_by_side),
        cmocka_unit_test(shapes_are_shown),
        WITH_SCRATCH(no_memory_is_reported),
        WITH_SCRATCH(mutated_files_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
