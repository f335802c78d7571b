# Commands on the demo's database in the blocks of a page, with the answers that stand below them:
# "$ parchmill ... parchmill-demo/demo.db ..." -> FOLDER/N.command, FOLDER/N.answer. A command that is
# cut (…) or goes on in the next line is not run.
/^```/ { inside = !inside; name = ""; next }
inside && /^\$ / {
    name = ""
    if ($0 !~ /…/ && split($0, quoted, "\"") % 2 == 1 && ($0 ~ /^\$ parchmill (sql|queries) .*parchmill-demo\/demo\.db/ ||
                     $0 == "$ parchmill experiment list")) {
        n++
        name = folder "/" sprintf("%02d", n)
        print substr($0, 3) > (name ".command")
        printf "" > (name ".answer")
    }
    next
}
inside && name != "" { print > (name ".answer") }
