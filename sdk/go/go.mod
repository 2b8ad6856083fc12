module planck

go 1.24
