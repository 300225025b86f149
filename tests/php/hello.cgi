#!/bin/sh
echo "careful" >&2
printf 'Status: 201 Made\nContent-Type: text/plain\nX-Own: 1\n\n%s %s %s ' "$SCRIPT_NAME" "$PATH_INFO" "$QUERY_STRING"
cat
