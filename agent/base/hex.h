/* Hexadecimal digits. */
#ifndef TOLLGATE_BASE_HEX_H
#define TOLLGATE_BASE_HEX_H

/* 0 to 15, or -1: it is none in lower case. */
static inline int hex_digit_lower(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 0 to 15, or -1: it is none, of either case. */
static inline int hex_digit(char c)
{
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : hex_digit_lower(c);
}

#endif
