/* Python's regular expressions, translated to those of POSIX. Whether a whole text matches does not depend on how
 * greedy a quantifier is, nor on which alternative is tried first, so the two agree on all that is let through. */
#include "base/pattern.h"
#include "base/memory.h"
#include <ctype.h>
#include <regex.h>
#include <string.h>

/* The C library compiles (X)+ as XX*, so that each group around another doubles what is inside. */
enum { PATTERN_LIMIT = 256, REPEATED_GROUPS = 8 };

struct slad_pattern {
    regex_t compiled;
};

/* A translation that grows; text has room for the longest. */
typedef struct translation {
    const char *rest; /* of the Python expression */
    char text[4 * PATTERN_LIMIT + 16];
    size_t length, repeated_groups;
} translation;

static void put(translation *out, const char *text)
{
    const size_t length = strlen(text);
    memcpy(out->text + out->length, text, length + 1);
    out->length += length;
}

static void put_character(translation *out, char character)
{
    const char text[2] = {character, '\0'};
    put(out, text);
}

/* What follows a backslash: punctuation is itself, \d a digit. Only what has a meaning of its own keeps the backslash,
 * since the C library gives others a meaning by it. */
static bool take_escape(translation *out, bool in_brackets)
{
    const char escaped = *++out->rest;
    if (escaped == 'd') {
        put(out, in_brackets ? "0-9" : "[0-9]");
    } else if (!in_brackets && escaped != '\0' && ispunct((unsigned char)escaped)) {
        if (strchr(".[]{}()*+?^$|\\", escaped)) put_character(out, '\\');
        put_character(out, escaped);
    } else if (in_brackets && (escaped == '.' || escaped == '_')) {
        put_character(out, escaped);
    } else {
        return false;
    }
    out->rest++;
    return true;
}

static bool take_brackets(translation *out)
{
    put_character(out, *out->rest++);
    if (*out->rest == '^') put_character(out, *out->rest++);
    if (*out->rest == ']' || *out->rest == '\0') return false;
    while (*out->rest != ']') {
        if (*out->rest == '\\') {
            if (!take_escape(out, true)) return false;
        } else if (*out->rest == '\0' || *out->rest == '[') {
            return false;
        } else {
            put_character(out, *out->rest++);
        }
    }
    put_character(out, *out->rest++);
    return true;
}

static bool take_quantifier(translation *out)
{
    if (*out->rest == '+' && out->text[out->length - 1] == ')' && ++out->repeated_groups > REPEATED_GROUPS)
        return false;
    put_character(out, *out->rest++);
    if (*out->rest == '?') out->rest++; /* as few as possible: the same texts match */
    return *out->rest != '*' && *out->rest != '+' && *out->rest != '?';
}

static bool take_group(translation *out)
{
    put_character(out, *out->rest++);
    if (*out->rest != '?') return true;
    if (out->rest[1] != ':') return false;
    out->rest += 2;
    return true;
}

static bool translate(translation *out, const char *text)
{
    bool good = true;
    out->rest = text;
    put(out, "^(.*\\.)?(");
    while (good && *out->rest) {
        switch (*out->rest) {
        case '\\':
            good = take_escape(out, false);
            break;
        case '[':
            good = take_brackets(out);
            break;
        case '*':
        case '+':
        case '?':
            good = take_quantifier(out);
            break;
        case '(':
            good = take_group(out);
            break;
        case '{':
        case '}':
            good = false;
            break;
        default:
            put_character(out, *out->rest++);
        }
    }
    put(out, ")$");
    return good;
}

slad_status slad_pattern_compile(slad_context *context, slad_pattern **out, const char *text, const char *origin)
{
    slad_status status = SLAD_OK;
    slad_pattern *made = NULL;
    translation translated = {0};
    *out = NULL;
    SLAD_FAIL_IF(strlen(text) > PATTERN_LIMIT || !translate(&translated, text), SLAD_ERROR_DATA,
                 "%s: the expression \"%.256s\" is longer than %d, repeats more than %d groups by +, or uses more "
                 "than letters, \\d, ., |, [], (), *, + and ?; write the full names of the modules instead",
                 origin, text, PATTERN_LIMIT, REPEATED_GROUPS);
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, "an expression"));
    const int refused = regcomp(&made->compiled, translated.text, REG_EXTENDED | REG_NOSUB);
    if (refused) {
        slad_release(made);
        made = NULL;
    }
    SLAD_FAIL_IF(refused == REG_ESPACE, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for the expression \"%s\"",
                 origin, text);
    SLAD_FAIL_IF(refused, SLAD_ERROR_DATA, "%s: \"%s\" is no regular expression", origin, text);
    *out = made;
    made = NULL;
cleanup:
    slad_release(made);
    return status;
}

bool slad_pattern_matches(const slad_pattern *pattern, const char *subject)
{
    return regexec(&pattern->compiled, subject, 0, NULL, 0) == 0;
}

void slad_pattern_free(slad_pattern *pattern)
{
    if (!pattern) return;
    regfree(&pattern->compiled);
    slad_release(pattern);
}
