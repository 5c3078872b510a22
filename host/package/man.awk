# What the program says of itself, as man(7) wants it. A line "@title" or "@command" tells whose help follows. There,
# "usage:" is the synopsis; an indented line that begins with a dash is an option, whose text is what stands right of
# two blanks and the lines that are indented far more; any other indented line is a row of a table, kept as it is.

function plain(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    return text ~ /^[.']/ ? "\\&" text : text
}

# Ends the table or the synopsis that the last line was in, or begins the one that this is in.
function keep(wanted) {
    if (wanted != kept)
        print wanted ? ".nf" : ".fi"
    kept = wanted
}

/^@title / {
    print ".TH FUSEDOPT 1 \"\" \"" $2 " " $3 "\" \"User Commands\""
    print ".SH NAME\nfusedopt \\- train with, time and verify fused optimizer steps"
    next
}
/^@command / {
    keep(0)
    print ".SH \"FUSEDOPT " toupper($2) "\""
    command = $2
    option = 0
    next
}
/^usage: / {
    if (!command)
        print ".SH SYNOPSIS"
    keep(1)
    print plain(substr($0, 8))
    next
}
kept && /^       [^ ]/ && !described[command] {
    print plain(substr($0, 8))
    next
}
/^$/ {
    keep(0)
    if (!command && !described[command])
        print ".SH DESCRIPTION"
    else
        print ".PP"
    described[command] = 1
    option = 0
    next
}
/^ +-/ {
    keep(0)
    sub(/^ +/, "")
    gap = match($0, /  +/)
    print ".TP\n\\fB" plain(gap ? substr($0, 1, gap - 1) : $0) "\\fR"
    if (gap)
        print plain(substr($0, gap + RLENGTH))
    option = 1
    next
}
option && /^      / {
    sub(/^ +/, "")
    print plain($0)
    next
}
/^ / {
    keep(1)
    print plain($0)
    next
}
{
    keep(0)
    print plain($0)
}
END { keep(0) }
