# Commands on the demo's database in the blocks of a page, with the answers that stand below them:
# "$ parchmill ... parchmill-demo/demo.db ..." -> FOLDER/N.command, FOLDER/N.answer
/^```/ { inside = !inside; name = ""; next }
inside && /^\$ / {
    name = ""
    if ($0 ~ /^\$ parchmill (sql|queries) .*parchmill-demo\/demo\.db/) {
        n++
        name = folder "/" sprintf("%02d", n)
        print substr($0, 3) > (name ".command")
        printf "" > (name ".answer")
    }
    next
}
inside && name != "" { print > (name ".answer") }
