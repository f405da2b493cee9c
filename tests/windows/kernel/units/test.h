/* Is the frame of the unit tests: TEST(name) { ... } with CHECKs. Each test runs in a process of its own, so
 * that it begins with a fresh driver and an end of the program is one failed test. */
#ifndef UNITS_TEST_H
#define UNITS_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct test {
    const char *file, *name;
    void (*run)(void);
    struct test *next;
};

void test_add(struct test *test);

#define TEST(function)                                                                                       \
    static void function(void);                                                                              \
    __attribute__((constructor)) static void function##_add(void)                                            \
    {                                                                                                        \
        static struct test row = {__FILE__, #function, function, NULL};                                      \
        test_add(&row);                                                                                      \
    }                                                                                                        \
    static void function(void)

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#define CHECK_EQ(left, right)                                                                                \
    do {                                                                                                     \
        unsigned long long left_ = (unsigned long long) (left), right_ = (unsigned long long) (right);       \
        if (left_ != right_) {                                                                               \
            fprintf(stderr, "%s:%d: %s is %#llx, and %s is %#llx\n", __FILE__, __LINE__, #left, left_,       \
                    #right, right_);                                                                         \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* A test counts here what it has tried, for the summary: allocations failed, inputs, events. */
void test_count(const char *what, uint64_t number);
/* Runs the function in a process of its own, where the shim has to find that this rule is broken. */
void test_breaks(const char *rule, void (*function)(void));

#endif
