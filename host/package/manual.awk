# The header as Doxygen wants it. Its comments are plain ones, for people: one that stands before a declaration, or
# behind it on its line, describes it; one before several functions describes them all, and one behind two fields both.
# Columns are kept.
NR == 1 { print "/**\n * @file"; next }
/^\/\* ----/ { next }
/^\/\*/ || /^ +\/\* .*\. \*\/$/ { sub(/\/\*/, "/**") }
/[^ ].* \/\* / { sub(/ \/\* /, " /**< ") }
/^ \*.*[^ *]   +[^ ]/ && !columns { print " * @verbatim"; columns = 1 }
columns && !/^ \*   / && !/[^ *]   / { print " * @endverbatim"; columns = 0 }
/^    size_t size;$/ { $0 = $0 " /**< sizeof the struct. */" }
/^    [a-z0-9_]+ [a-z0-9_]+, [a-z0-9_]+; .*\*\/$/ {
    comment = substr($0, index($0, "/**<"))
    split($0, words, /[ ,;]+/)
    print "    " words[2] " " words[3] "; " comment
    $0 = "    " words[2] " " words[4] "; " comment
}
/^FOPT_API/ {
    match($0, /fopt_[a-z_]+\(/)
    name = substr($0, RSTART, RLENGTH) ")"
    if (above ~ /^FOPT_API.*;$/)
        print "/** @copydoc " described " */"
    else
        described = name
}
{ print; above = $0 }
