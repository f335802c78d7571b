/* Owns the reading of a page. */
#include "tests/report/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <expat.h>

#include "lib/base/file.h"

enum { DEPTH_MAX = 64 };

typedef struct reading {
    pm_page *page;
    size_t open[DEPTH_MAX], depth;
} reading;

static void begin(void *user, const char *name, const char **attributes) {
    reading *r = user;
    size_t n = 0;
    pm_page *page = r->page;
    if ((page->count & (page->count - 1)) == 0) {
        size_t room = page->count ? page->count * 2 : 1;
        page->elements = realloc(page->elements, room * sizeof *page->elements);
        assert_non_null(page->elements);
    }
    while (attributes[n]) n++;
    pm_element *e = &page->elements[page->count];
    *e = (pm_element){.name = strdup(name), .attributes = calloc(n + 1, sizeof(char *))};
    for (size_t i = 0; i < n; i++) e->attributes[i] = strdup(attributes[i]);
    e->text = page->text_size;
    assert_true(r->depth < DEPTH_MAX);
    r->open[r->depth++] = page->count++;
}

static void end(void *user, const char *name) {
    reading *r = user;
    (void)name;
    r->page->elements[r->open[--r->depth]].text_end = r->page->text_size;
}

static void text(void *user, const char *bytes, int size) {
    pm_page *page = ((reading *)user)->page;
    memcpy(page->text + page->text_size, bytes, (size_t)size);
    page->text_size += (size_t)size;
}

void pm_page_read(const char *dir, pm_page *out) {
    char path[512];
    uint8_t *bytes;
    size_t size;
    reading r = {.page = out};
    XML_Parser parser = XML_ParserCreate(NULL);
    snprintf(path, sizeof path, "%s/index.html", dir);
    assert_int_equal(pm_file_read(path, (size_t)1 << 28, &bytes, &size), PM_OK);
    *out = (pm_page){.dir = strdup(dir), .text = calloc(size + 1, 1)};
    assert_non_null(out->text);
    XML_SetUserData(parser, &r);
    XML_SetElementHandler(parser, begin, end);
    XML_SetCharacterDataHandler(parser, text);
    if (XML_Parse(parser, (const char *)bytes, (int)size, 1) != XML_STATUS_OK)
        fail_msg("%s:%lu: %s", path, XML_GetCurrentLineNumber(parser),
                 XML_ErrorString(XML_GetErrorCode(parser)));
    XML_ParserFree(parser);
    free(bytes);
}

void pm_page_fini(pm_page *page) {
    for (size_t i = 0; i < page->count; i++) {
        for (char **a = page->elements[i].attributes; *a; a++) free(*a);
        free(page->elements[i].attributes);
        free(page->elements[i].name);
    }
    free(page->elements);
    free(page->text);
    free(page->dir);
}

const char *pm_element_attribute(const pm_element *element, const char *name) {
    for (char **a = element->attributes; *a; a += 2)
        if (strcmp(a[0], name) == 0) return a[1];
    return NULL;
}

static const pm_element *find(const pm_page *page, const char *id) {
    for (size_t i = 0; i < page->count; i++) {
        const char *own = pm_element_attribute(&page->elements[i], "id");
        if (own && strcmp(own, id) == 0) return &page->elements[i];
    }
    return NULL;
}

const pm_element *pm_page_find(const pm_page *page, const char *id) {
    const pm_element *e = find(page, id);
    if (!e) fail_msg("no element with the id %s", id);
    return e;
}

size_t pm_page_count(const pm_page *page, const char *element) {
    size_t count = 0;
    for (size_t i = 0; i < page->count; i++) count += strcmp(page->elements[i].name, element) == 0;
    return count;
}

char *pm_page_text_of(const pm_page *page, const pm_element *element) {
    return strndup(page->text + element->text, element->text_end - element->text);
}

bool pm_page_says(const pm_page *page, const char *words) {
    return strstr(page->text, words) != NULL;
}

static void check_address(const pm_page *page, const char *address) {
    char path[1024];
    if (address[0] == '#') {
        if (!find(page, address + 1)) fail_msg("%s leads nowhere", address);
        return;
    }
    snprintf(path, sizeof path, "%s/%s", page->dir, address);
    if (access(path, R_OK) != 0) fail_msg("%s is not there", path);
}

void pm_page_check(const pm_page *page) {
    int level = 0;
    for (size_t i = 0; i < page->count; i++) {
        const pm_element *e = &page->elements[i];
        const char *id = pm_element_attribute(e, "id"), *src = pm_element_attribute(e, "src");
        const char *href = pm_element_attribute(e, "href");
        if (id && find(page, id) != e) fail_msg("the id %s stands twice", id);
        if (src) check_address(page, src);
        if (href) check_address(page, href);
        const char *named_by = pm_element_attribute(e, "aria-labelledby");
        if (named_by && !strchr(named_by, ' ')) pm_page_find(page, named_by);
        if (strcmp(e->name, "img") == 0 && !pm_element_attribute(e, "alt"))
            fail_msg("%s has no alternative text", src);
        if (e->name[0] == 'h' && e->name[1] >= '1' && e->name[1] <= '6' && !e->name[2]) {
            if (e->name[1] - '0' > level + 1) fail_msg("%s follows h%d", e->name, level);
            level = e->name[1] - '0';
        }
    }
}
