module ringress-streams

go 1.25
