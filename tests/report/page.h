/* A page of a report, read by an XML parser: its elements in order, and its text. */
#ifndef PM_TESTS_REPORT_PAGE_H
#define PM_TESTS_REPORT_PAGE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct pm_element {
    char *name;
    char **attributes;     /* name, value, name, value, NULL */
    size_t text, text_end; /* of the page's text, all that is inside */
} pm_element;

typedef struct pm_page {
    char *dir;
    pm_element *elements;
    size_t count;
    char *text;
    size_t text_size;
} pm_page;

/* Asserts that DIR/index.html is well-formed. */
void pm_page_read(const char *dir, pm_page *out);
void pm_page_fini(pm_page *page);

/* NULL: it has none. */
const char *pm_element_attribute(const pm_element *element, const char *name);
/* The element with that id; asserts that there is one. */
const pm_element *pm_page_find(const pm_page *page, const char *id);
size_t pm_page_count(const pm_page *page, const char *element);
/* A copy of the text inside an element; free it. */
char *pm_page_text_of(const pm_page *page, const pm_element *element);
bool pm_page_says(const pm_page *page, const char *text);
/* Asserts: ids are unique, links within the page have their aim, every other address is a file of
 * the report, every image has an alternative text, headings leave no level out. */
void pm_page_check(const pm_page *page);

#endif
