/* Models that are one safetensors file in the naming of facebookresearch/dinov2 or timm, and files of mixed types. */
#include "tiny_model.h"

#include <math.h>

static void single_files_are_found_in_folders(void **state)
{
    scratch *own = *state;
    slad_hf_model *model = NULL;
    tiny description = tiny_of(SLAD_HF_HUB, SLAD_HF_DINOV2, false);
    description.file = "dinov2_vits14.safetensors";
    slad_hf_close(assert_read(own, &description));
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_OK);
    assert_values(own, model, &description);
    assert_string_equal(slad_hf_folder(model), own->folder);
    slad_hf_close(model);

    /* a second one, unless it has the usual name */
    description.file = "other.safetensors";
    write_tensors(own, &description);
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
    assert_message(own, "config.json: is missing, and there are several safetensors files");
    description = tiny_of(SLAD_HF_TIMM, SLAD_HF_DINOV2_WITH_REGISTERS, false);
    write_tensors(own, &description);
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_OK);
    assert_int_equal(slad_hf_config_of(model)->naming, SLAD_HF_TIMM);
    slad_hf_close(model);

    /* timm's own config.json */
    static const char text[] = "{\"architecture\":\"vit_small_patch14_reg4_dinov2\",\"num_classes\":0}";
    assert_int_equal(slad_file_write_all(own->context, scratch_path(own, "config.json"), text, strlen(text)), SLAD_OK);
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_OK);
    assert_values(own, model, &description);
    slad_hf_close(model);
}

static void single_files_must_be_whole(void **state)
{
    static const struct {
        slad_hf_naming naming;
        slad_hf_type type;
        const char *without, *resized;
        size_t axis;
        const char *first, *second;
    } cases[] = {
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "patch_embed.proj.weight", NULL, 0, "\"patch_embed.proj.weight\" is missing",
         "config.json"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, NULL, "patch_embed.proj.weight", 0, "[65, 3, 2, 2]", "heads of 64"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, NULL, "patch_embed.proj.weight", 1, "[64, 4, 2, 2]", "[width, 3, patch, patch]"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, NULL, "patch_embed.proj.weight", 2, "[64, 3, 3, 2]", "[width, 3, patch, patch]"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, NULL, "pos_embed", 1, "\"pos_embed\" is [1, 11, 64]", "grid * grid"},
        {SLAD_HF_TIMM, SLAD_HF_DINOV2_WITH_REGISTERS, NULL, "pos_embed", 2, "\"pos_embed\" is [1, 9, 65]", "ask for"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "pos_embed", NULL, 0, "\"pos_embed\" is missing", "naming"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "cls_token", NULL, 0, "\"cls_token\" is missing", "layers"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "norm.weight", NULL, 0, "\"norm.weight\" is missing", "layers"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "blocks.0.norm1.weight", NULL, 0, "\"blocks.0.norm1.weight\"", "no layer"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "blocks.1.norm1.weight", NULL, 0, "\"blocks.1.", "a layer is missing"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "blocks.1.attn.qkv.bias", NULL, 0, "\"blocks.1.attn.qkv.bias\" is missing",
         "layers"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, NULL, "blocks.1.attn.qkv.weight", 0, "[193, 64]", "[192, 64]"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "blocks.0.ls1.gamma", NULL, 0, "ls2.gamma", "no encoder"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, "blocks.1.ls1.gamma", NULL, 0, "\"blocks.1.ls1.gamma\" is missing", "layers"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, NULL, "blocks.0.mlp.fc1.weight", 0, "fc1.weight\" is [257, 64]",
         "fc2.weight\" is [64, 256]"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, NULL, "blocks.1.mlp.fc2.weight", 1, "[64, 257]", "[64, 256]"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2_WITH_REGISTERS, NULL, "register_tokens", 2, "[1, 4, 65]", "[1, 4, 64]"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2_WITH_REGISTERS, "blocks.0.ls1.gamma", NULL, 0, "ls1.gamma\" is missing",
         "registers"},
        {SLAD_HF_TIMM, SLAD_HF_DINOV2, NULL, "blocks.1.norm2.bias", 0, "[65]", "[64]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny description = tiny_of(cases[i].naming, cases[i].type, false);
        description.without = cases[i].without;
        description.resized = cases[i].resized;
        description.resized_axis = cases[i].axis;
        assert_model_refused(*state, &description, cases[i].first, cases[i].second);
        assert_model_refused(*state, &description, cases[i].first, "model.safetensors");
    }
}

/* Without any one tensor, or with one that is longer along an axis, a file is refused: but a file without registers is
 * a model without registers, any number of them is right, and timm's position table may have a row for the class token.
 */
static void every_tensor_of_a_single_file_is_asked_for(void **state)
{
    for (int form = 0; form < 8; form++) {
        const slad_hf_naming naming = form & 1 ? SLAD_HF_TIMM : SLAD_HF_HUB;
        const tiny whole = tiny_of(naming, form & 2 ? SLAD_HF_DINOV2_WITH_REGISTERS : SLAD_HF_DINOV2, (form & 4) != 0);
        for (size_t i = 0; i < slad_hf_slot_count(&whole.config); i++) {
            slad_hf_slot slot;
            char name[SLAD_HF_NAME_SIZE];
            tiny description = whole;
            slad_hf_slot_at(&slot, &whole.config, i);
            if (part_of(slot.name, "attention.key") || part_of(slot.name, "attention.value")) continue;
            own_name(name, naming, slot.name);
            description.without = name;
            if (slot.role != SLAD_HF_REGISTERS) assert_model_refused(*state, &description, "model", ".safetensors");
            description.without = NULL;
            description.resized = name;
            for (size_t axis = 0; axis < slot.rank; axis++) {
                const bool free_size =
                    slot.role == SLAD_HF_REGISTERS || (slot.role == SLAD_HF_POSITION && position_is_added(&whole));
                description.resized_axis = axis;
                if (axis != 1 || !free_size) assert_model_refused(*state, &description, name, ".safetensors");
            }
        }
    }
}

static void single_files_hold_one_encoder_of_a_known_kind(void **state)
{
    static const struct {
        slad_hf_naming naming;
        bool gated;
        const char *extra, *message;
    } cases[] = {
        {SLAD_HF_TIMM, false, "blocks.0.attn.q_norm.weight", "no encoder that slad knows"},
        {SLAD_HF_TIMM, false, "fc_norm.weight", "no encoder that slad knows"},
        {SLAD_HF_TIMM, false, "norm_pre.weight", "no encoder that slad knows"},
        {SLAD_HF_HUB, false, "blocks.0.0.norm1.weight", "no encoder that slad knows"},
        {SLAD_HF_HUB, false, "blocks.2.norm1.bias", "a layer is missing"},
        {SLAD_HF_HUB, false, "teacher.patch_embed.proj.weight", "several encoders"},
        {SLAD_HF_HUB, true, "reg_token", "a file has one naming"},
        {SLAD_HF_HUB, false, "register_tokens", "[1, registers, 64]"},
        {SLAD_HF_TIMM, true, "blocks.0.mlp.w12.weight", "w12"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny description = tiny_of(cases[i].naming, SLAD_HF_DINOV2, cases[i].gated);
        description.extra = cases[i].extra;
        assert_model_refused(*state, &description, cases[i].message, cases[i].extra);
    }
    tiny description = tiny_of(SLAD_HF_HUB, SLAD_HF_DINOV2, true);
    description.config.mlp_size = 192; /* between the ratios 4 and 5 */
    assert_model_refused(*state, &description, "mlp_ratio", "w12.weight");
    description = tiny_of(SLAD_HF_HUB, SLAD_HF_DINOV2, false);
    description.mistyped = "blocks.1.attn.qkv.weight";
    assert_model_refused(*state, &description, "blocks.1.attn.qkv.weight\" is I64", "F32");
    description = tiny_of(SLAD_HF_TIMM, SLAD_HF_DINOV2, false);
    description.extra = "head.weight"; /* is not part of the encoder */
    slad_hf_close(assert_read(*state, &description));
}

/* A float that binary16 and bfloat16 hold exactly, and its bits: eighths from -2 to 2. */
static uint16_t small_bits(float value, bool brain)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (brain || value == 0.0f) return (uint16_t)(bits >> 16);
    return (uint16_t)((bits >> 16 & 0x8000u) | (((bits >> 23 & 0xffu) - 112u) << 10) | (bits >> 13 & 0x3ffu));
}

static float small_value(const char *name, uint64_t index)
{
    return floorf(value_of(name, index) * 32.0f) / 8.0f;
}

/* Writes the model with its tensors in turn F32, F16 and BF16; the library's writer knows F32 only. */
static void write_mixed(scratch *own, const tensor_list *list)
{
    static const char *const types[3] = {"F32", "F16", "BF16"};
    enum { HEADER = 1 << 14, DATA = 1 << 18 };
    unsigned char *file = calloc(1, 8 + HEADER + DATA);
    char *header = (char *)file + 8;
    size_t length = 0, used = 0;
    assert_non_null(file);
    for (size_t i = 0; i < list->count; i++) {
        const size_t size = i % 3 ? 2 : 4;
        const slad_safetensors_entry *entry = &list->entries[i];
        uint64_t elements = 1;
        char shape[64] = "";
        for (size_t axis = 0; axis < entry->rank; axis++) {
            elements *= entry->shape[axis];
            (void)snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%u", axis ? "," : "",
                           (unsigned)entry->shape[axis]);
        }
        for (uint64_t k = 0; k < elements; k++) {
            const float value = small_value(entry->name, k);
            const uint16_t bits = small_bits(value, i % 3 == 2);
            memcpy(file + 8 + HEADER + used + k * size, size == 4 ? (const void *)&value : (const void *)&bits, size);
        }
        length += (size_t)snprintf(
            header + length, HEADER - length, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
            i ? "," : "{", entry->name, types[i % 3], shape, used, used + (size_t)elements * size);
        used += (size_t)elements * size;
        assert_true(length < HEADER - 1 && used < DATA);
    }
    header[length] = '}';
    memset(header + length + 1, ' ', HEADER - length - 1);
    for (int i = 0; i < 8; i++) file[i] = (unsigned char)((uint64_t)HEADER >> (8 * i));
    assert_int_equal(slad_file_write_all(own->context, scratch_path(own, "model.safetensors"), file, 8 + HEADER + used),
                     SLAD_OK);
    free(file);
}

static void types_may_be_mixed(void **state)
{
    scratch *own = *state;
    const tiny description = tiny_default();
    tensor_list *list = calloc(1, sizeof *list);
    slad_hf_model *model = NULL;
    assert_non_null(list);
    list_tensors(list, &description);
    write_config(own, &description);
    write_mixed(own, list);
    for (size_t i = 0; i < list->count; i++) free(list->data[i]);
    free(list);
    if (slad_hf_open(own->context, &model, own->folder) != SLAD_OK) fail_msg("%s", slad_context_message(own->context));
    float values[8 * 3 * 14 * 14];
    for (size_t i = 0; i < slad_hf_slot_count(slad_hf_config_of(model)); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, slad_hf_config_of(model), i);
        assert_int_equal(slad_hf_read(own->context, values, model, slot.name), SLAD_OK);
        for (uint64_t k = 0; k < slot.elements; k++) assert_true(values[k] == small_value(slot.name, k));
    }
    slad_hf_close(model);
}

static void no_memory_for_single_files_is_reported(void **state)
{
    scratch *own = *state;
    const tiny description = tiny_of(SLAD_HF_HUB, SLAD_HF_DINOV2_WITH_REGISTERS, true);
    slad_hf_close(assert_read(own, &description));
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_hf_model *model = NULL;
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_hf_open(own->context, &model, own->folder);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_hf_close(model);
        assert_true(countdown < 1000);
    }
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(single_files_are_found_in_folders),
        WITH_SCRATCH(single_files_must_be_whole),
        WITH_SCRATCH(every_tensor_of_a_single_file_is_asked_for),
        WITH_SCRATCH(single_files_hold_one_encoder_of_a_known_kind),
        WITH_SCRATCH(types_may_be_mixed),
        WITH_SCRATCH(no_memory_for_single_files_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
