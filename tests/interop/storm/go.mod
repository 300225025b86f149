module storm

go 1.24
